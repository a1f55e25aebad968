// What other headers define: those of C and POSIX, and after them, as macros, names that X11, Qt, Windows and
// people define. Headers that are not ours could not be read after that, so they come first.

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <charconv>
#include <chrono>
#include <complex.h>
#include <condition_variable>
#include <deque>
#include <errno.h>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <map>
#include <math.h>
#include <mutex>
#include <numbers>
#include <numeric>
#include <optional>
#include <random>
#include <set>
#include <signal.h>
#include <span>
#include <sys/param.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <termios.h>
#include <thread>
#include <ucontext.h>
#include <unistd.h>
#include <unordered_map>
#include <variant>

#include <Random123/philox.h>
#include <nlohmann/json.hpp>
#include <unsupported/Eigen/CXX11/Tensor>
#include <unsupported/Eigen/CXX11/ThreadPool>

#if !defined(I) || !defined(major) || !defined(B0) || !defined(MIN)
#error "these headers define nothing that would be in the way"
#endif

#define min(a, b) ((a) < (b) ? (a) : (b))
#define max(a, b) ((a) > (b) ? (a) : (b))
#define near
#define far
#define small char
#define interface struct
#define IN
#define OUT
#define OPTIONAL
#define ERROR 0
#define DIFFERENCE 5
#define DELETE 0x10000
#define TRUE 1
#define FALSE 0
#define None 0L
#define Bool int
#define Status int
#define Success 0
#define Always 2
#define Above 0
#define Below 1
#define Complex 0
#define Convex 2
#define emit
#define slots
#define signals public
#define foreach(a, b) for (a : b)
#define forever for (;;)
#define check(condition) ((void)(condition))
#define verify(condition) ((void)(condition))
#define CHECK(condition) ((void)(condition))
#define LOG(level) level
#define PI 3
#define E 2
#define N 8
#define T_
#define _B 1
#define likely(x) (x)
#define unlikely(x) (x)
#define barrier()

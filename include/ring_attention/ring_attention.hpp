#pragma once

// The whole library, but for MPI (mpi.hpp).
#include <ring_attention/core/digest.hpp>
#include <ring_attention/io/weights.hpp>
#include <ring_attention/models/build.hpp>
#include <ring_attention/models/sequential.hpp>
#include <ring_attention/models/stream.hpp>
#include <ring_attention/ring/attention.hpp>
#include <ring_attention/ring/scatter.hpp>
#include <ring_attention/ring/thread_ring.hpp>
#include <ring_attention/ring/traffic.hpp>
#include <ring_attention/ring/work.hpp>
#include <ring_attention/training/adamw.hpp>
#include <ring_attention/training/checkpoint.hpp>
#include <ring_attention/training/clip.hpp>
#include <ring_attention/training/cross_entropy.hpp>
#include <ring_attention/training/next_tokens.hpp>
#include <ring_attention/training/schedule.hpp>
#include <ring_attention/version.hpp>

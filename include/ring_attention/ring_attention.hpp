#pragma once

// The whole library, but for MPI (mpi.hpp).
#include <ring_attention/attention/operator.hpp>
#include <ring_attention/attention/traffic.hpp>
#include <ring_attention/attention/work.hpp>
#include <ring_attention/core/digest.hpp>
#include <ring_attention/io/weights.hpp>
#include <ring_attention/layers/gelu.hpp>
#include <ring_attention/layers/sequential.hpp>
#include <ring_attention/layers/shifted_rows.hpp>
#include <ring_attention/models/build.hpp>
#include <ring_attention/models/stream.hpp>
#include <ring_attention/ring/thread/thread_ring.hpp>
#include <ring_attention/sequence/scatter.hpp>
#include <ring_attention/training/adamw.hpp>
#include <ring_attention/training/checkpoint.hpp>
#include <ring_attention/training/clip.hpp>
#include <ring_attention/training/cross_entropy.hpp>
#include <ring_attention/training/learning_rate.hpp>
#include <ring_attention/training/next_tokens.hpp>
#include <ring_attention/version.hpp>

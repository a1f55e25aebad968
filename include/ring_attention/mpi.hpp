#pragma once

// The whole library and the ring over MPI.
#include <ring_attention/ring/mpi_grid.hpp>
#include <ring_attention/ring/mpi_main.hpp>
#include <ring_attention/ring/mpi_ring.hpp>
#include <ring_attention/ring_attention.hpp>

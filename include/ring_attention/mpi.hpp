#pragma once

// The whole library and the ring over MPI.
#include <ring_attention/ring/mpi/mpi_grid.hpp>
#include <ring_attention/ring/mpi/mpi_main.hpp>
#include <ring_attention/ring/mpi/mpi_ring.hpp>
#include <ring_attention/ring_attention.hpp>

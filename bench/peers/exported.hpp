#pragma once

/// A function that Python finds by its name.
#define EXPORTED extern "C" __attribute__((visibility("default")))

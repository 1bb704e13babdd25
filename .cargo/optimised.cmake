# Optimises C and C++ libraries that are built as CMake's "Debug", as
# `profile.dev.package."*"` in Cargo.toml does for Rust ones.
# Set CMAKE_TOOLCHAIN_FILE in the environment to use another toolchain file.
if(NOT CMAKE_HOST_WIN32)
  set(CMAKE_C_FLAGS_DEBUG_INIT "-O3 -DNDEBUG")
  set(CMAKE_CXX_FLAGS_DEBUG_INIT "-O3 -DNDEBUG")
endif()

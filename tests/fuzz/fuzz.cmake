# SPDX-License-Identifier: Apache-2.0
#
# Fuzz targets. A target is one file, fuzz_NAME.c, which includes fuzz.h and defines
#
#   int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)     one input; returns 0; aborts
#                                                                    (mb_fuzz_check) where something
#                                                                    is wrong
#   size_t mb_fuzz_seed(size_t index, uint8_t *data, size_t size)    the small corpus to start from
#
# and is added by the CMakeLists.txt of its folder (a backend's: where its unit tests are) with
#
#   include(${PROJECT_SOURCE_DIR}/tests/fuzz/fuzz.cmake)
#   mb_add_fuzz(NAME [RUNS 2000] SOURCES fuzz_NAME.c ... LIBRARIES mbridge_kit ...)
#
# The files stand in tests/fuzz; paths are relative to the folder that calls. Each target is a
# program, <build>/tests/fuzz_NAME, and a test of ctest of that name, which runs 20000 inputs
# (or RUNS; label "fuzz").
#
# Without MBRIDGE_FUZZ the program is linked with driver.c: mutations of the corpus and random bytes
# by seed, with any compiler.
#
#   ./dev fuzz --inputs 1000000 [NAME]     all of them, or those of a name, with ASan and UBSan
#       10,000,000 each are 90 minutes of CPU time: mutants 40, config 25, url 8, all others 20
#   tests/fuzz_NAME -runs=5000000 -seed=7     prints what it ran, and how fast
#   tests/fuzz_NAME -seed=7 -only=1234        one input again: the number that a failure printed
#   tests/fuzz_NAME crash-7-1234              the same from the file that it left behind
#
# With MBRIDGE_FUZZ and clang it is libFuzzer, which learns from coverage:
#
#   cmake -S . -B build/fuzz -G Ninja -DCMAKE_C_COMPILER=clang -DMBRIDGE_FUZZ=ON
#         -DMBRIDGE_SANITIZE=address,undefined,fuzzer-no-link
#   build/fuzz/tests/fuzz_NAME -max_total_time=600 CORPUS_FOLDER
#
# `fuzz_NAME -seeds=FOLDER` of the other build writes the corpus into a folder for it.
include_guard(GLOBAL)
option(MBRIDGE_FUZZ "Link the fuzz targets with libFuzzer (clang only)" OFF)

set(MBRIDGE_FUZZ_FOLDER ${CMAKE_CURRENT_LIST_DIR} CACHE INTERNAL "")
add_custom_target(fuzz) # all of them

function(mb_add_fuzz name)
    cmake_parse_arguments(arg "" "RUNS" "SOURCES;LIBRARIES" ${ARGN})
    if(NOT arg_RUNS)
        set(arg_RUNS 20000)
    endif()
    add_executable(fuzz_${name} ${arg_SOURCES})
    target_include_directories(fuzz_${name} PRIVATE ${MBRIDGE_FUZZ_FOLDER} ${PROJECT_SOURCE_DIR})
    target_link_libraries(fuzz_${name} PRIVATE ${arg_LIBRARIES})
    target_compile_definitions(fuzz_${name} PRIVATE MBRIDGE_FUZZ_NAME="${name}")
    if(MBRIDGE_FUZZ)
        target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
    else()
        target_sources(fuzz_${name} PRIVATE ${MBRIDGE_FUZZ_FOLDER}/driver.c)
    endif()
    add_dependencies(fuzz fuzz_${name})
    set_target_properties(fuzz_${name} PROPERTIES
        RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
    add_test(NAME fuzz_${name} COMMAND fuzz_${name} -runs=${arg_RUNS} -seed=1)
    set_tests_properties(fuzz_${name} PROPERTIES TIMEOUT 120 LABELS fuzz)
endfunction()

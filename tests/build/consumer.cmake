# SPDX-License-Identifier: MIT
#
# Goal: programs outside the tree can use the libraries by find_package, pkg-config and add_subdirectory, in C and C++,
# statically and dynamically, wherever the installed tree was moved to.
#
# Method: cmake -DWAY=install|find_package|pkg_config|add_subdirectory ... -P consumer.cmake, one way a call; `install`
# installs the build BUILD under WORK and then renames the prefix. Each way builds the programs of consumer/ and runs
# them; they check what they get.

set(prefix ${WORK}/moved)
set(programs ${CMAKE_CURRENT_LIST_DIR}/consumer)

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status)
  if(NOT status EQUAL 0)
    list(JOIN ARGN " " command)
    message(FATAL_ERROR "failed (${status}): ${command}")
  endif()
endfunction()

# build_and_run(folder option...): the CMake project consumer/.
function(build_and_run folder)
  file(REMOVE_RECURSE ${folder})
  # The README's example is one of the programs.
  file(READ ${SOURCE}/README.md readme)
  string(REGEX MATCH "```cpp\n([^`]*)```" example "${readme}")
  file(WRITE ${folder}/readme.cpp "${CMAKE_MATCH_1}")
  run(${CMAKE_COMMAND} -S ${programs} -B ${folder} -G ${GENERATOR} -DCMAKE_CXX_COMPILER=${CXX}
      -DCMAKE_C_COMPILER=${CC} "-DCMAKE_CXX_FLAGS=${FLAGS}" "-DCMAKE_C_FLAGS=${FLAGS}" ${ARGN})
  run(${CMAKE_COMMAND} --build ${folder})
  foreach(program heap_cxx heap_cxx_shared heap_c heap_c_shared readme cache_cxx)
    run(${folder}/${program})
  endforeach()
endfunction()

# compile_and_run(compiler source package static|shared): without CMake.
function(compile_and_run compiler source package linking)
  set(ENV{PKG_CONFIG_PATH} ${prefix}/lib/pkgconfig)
  set(static "")
  if(linking STREQUAL static)
    set(static --static)
  endif()
  execute_process(COMMAND pkg-config --cflags --libs ${static} ${package} OUTPUT_VARIABLE flags
                  OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  if(linking STREQUAL static) # take the archives, although the shared library lies beside them
    string(REPLACE "-lscoot_cache" "-l:libscoot_cache.a" flags "${flags}")
    string(REGEX REPLACE "-lscoot( |$)" "-l:libscoot.a\\1" flags "${flags}")
  endif()
  separate_arguments(flags UNIX_COMMAND "${flags} ${FLAGS} -Wl,-rpath,${prefix}/lib")
  set(program ${WORK}/pkg_config_${package}_${linking})
  run(${compiler} ${programs}/${source} ${flags} -o ${program})
  run(${program})
endfunction()

if(WAY STREQUAL "install")
  file(REMOVE_RECURSE ${WORK}/installed ${prefix})
  run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${WORK}/installed --config "${CONFIG}")
  file(RENAME ${WORK}/installed ${prefix})
elseif(WAY STREQUAL "find_package")
  build_and_run(${WORK}/find_package -DWAY=find_package -DCMAKE_PREFIX_PATH=${prefix})
elseif(WAY STREQUAL "add_subdirectory")
  set(FLAGS "") # builds its own libraries
  build_and_run(${WORK}/add_subdirectory -DWAY=add_subdirectory -DSCOOT_SOURCE=${SOURCE})
elseif(WAY STREQUAL "pkg_config")
  foreach(linking shared static)
    compile_and_run("${CC};-std=c11" heap.c scoot ${linking})
    compile_and_run("${CXX};-std=c++20" heap.cpp scoot ${linking})
    compile_and_run("${CXX};-std=c++20" cache.cpp scoot-cache ${linking})
  endforeach()
else()
  message(FATAL_ERROR "no way of the name ${WAY}")
endif()

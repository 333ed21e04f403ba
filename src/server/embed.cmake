# SPDX-License-Identifier: MIT
#
# cmake -D OUTPUT=FILE -D FOLDER=page -P embed.cmake: the files of the live page as C++.

set(pages
    "/|index.html|text/html"
    "/page.css|page.css|text/css"
    "/main.js|main.js|text/javascript"
    "/map.js|map.js|text/javascript"
    "/plots.js|plots.js|text/javascript"
    "/stream.js|stream.js|text/javascript"
    "/words.js|words.js|text/javascript"
    "/uplot.js|uplot/uPlot.iife.min.js|text/javascript"
    "/uplot.css|uplot/uPlot.min.css|text/css")

set(arrays "")
set(table "")
set(number 0)
foreach(page IN LISTS pages)
  string(REGEX MATCH "^([^|]*)\\|([^|]*)\\|(.*)$" found "${page}")
  if(NOT found)
    continue()
  endif()
  set(path ${CMAKE_MATCH_1})
  set(file ${CMAKE_MATCH_2})
  set(type ${CMAKE_MATCH_3})
  file(READ ${FOLDER}/${file} bytes HEX)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
  string(APPEND arrays "constexpr unsigned char page_${number}[] = {${bytes}};\n")
  string(APPEND table "    {\"${path}\", \"${type}; charset=utf-8\", page_${number}, sizeof page_${number}},\n")
  math(EXPR number "${number} + 1")
endforeach()

file(WRITE ${OUTPUT}
     "// Made by embed.cmake.
#include \"server/http_pages.hpp\"

namespace scoot::server {
namespace {

${arrays}
constexpr http_page pages[] = {
${table}};

}  // namespace

const http_page* find_http_page(std::string_view path) noexcept {
  for (const http_page& page : pages) {
    if (page.path == path) return &page;
  }
  return nullptr;
}

}  // namespace scoot::server
")

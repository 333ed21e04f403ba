// SPDX-License-Identifier: MIT
//
// What all benchmarks print: medians with their spread, plain tables, progress lines, and the JSON file, one array of
// flat objects.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace bench {

struct summary {
  double median = 0;
  double min = 0;
  double max = 0;
};

// Of at least one value.
summary summarise(std::vector<double> values);

std::string format_fixed(double value, int digits);

// Prints columns aligned; the first row is the heading.
void print_table(const std::vector<std::vector<std::string>>& rows);

// A line to stderr that says what runs now: overwritten in place on a terminal, else at most one every few seconds.
void progress(const std::string& line);
void progress_done();

using json_rows = std::vector<nlohmann::ordered_json>;

// Writes the rows, each with the commit and the command line added. False, with a message, if the file cannot be
// written.
bool write_json(const std::string& path, const json_rows& rows, const std::string& command);

// The commit of the working directory, with "-dirty" where it has changes; "unknown" outside a repository.
std::string commit();

}  // namespace bench

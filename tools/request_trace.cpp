// SPDX-License-Identifier: MIT
#include "request_trace.hpp"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <fstream>
#include <string_view>
#include <unordered_map>

namespace tools {
namespace {

constexpr std::uint32_t key_bytes_min = 10;  // room for any number of an object
constexpr std::uint32_t key_bytes_max = 250;
constexpr std::uint32_t value_bytes_max = std::uint32_t{64} << 20;

// Numbers objects in the order in which they come up.
template <class Id>
class numbering {
 public:
  std::uint32_t of(const Id& id) {
    const auto [at, fresh] = numbers_.try_emplace(id, static_cast<std::uint32_t>(numbers_.size()));
    (void)fresh;
    return at->second;
  }

 private:
  std::unordered_map<Id, std::uint32_t> numbers_;
};

template <class Number>
Number little_endian(const unsigned char* at) {
  std::uint64_t number = 0;
  for (std::size_t i = 0; i < sizeof(Number); ++i) number |= std::uint64_t{at[i]} << 8 * i;
  return static_cast<Number>(number);
}

// ---- oracleGeneral ------------------------------------------------------------------------------------------------

bool read_oracle(std::ifstream& file, const request_trace_options& options, request_trace& out, std::string& error) {
  constexpr std::size_t record_bytes = 24;
  numbering<std::uint64_t> numbers;
  std::vector<unsigned char> buffer(record_bytes * 4096);
  std::uint32_t first_time = 0, last_time = 0;
  for (std::uint64_t record = 0;;) {
    file.read(reinterpret_cast<char*>(buffer.data()), static_cast<std::streamsize>(buffer.size()));
    const auto got = static_cast<std::size_t>(file.gcount());
    for (std::size_t at = 0; at + record_bytes <= got; at += record_bytes, ++record) {
      const unsigned char* const r = buffer.data() + at;
      const auto time = little_endian<std::uint32_t>(r);
      const auto bytes = little_endian<std::uint32_t>(r + 12);
      const auto next = little_endian<std::int64_t>(r + 16);
      const std::string place = "record " + std::to_string(record) + ": ";
      if (record == 0) first_time = last_time = time;
      if (time < last_time) return error = place + "time goes back; is this an oracleGeneral file?", false;
      if (next < -1 || (next != -1 && static_cast<std::uint64_t>(next) <= record)) {
        return error = place + "its next access, " + std::to_string(next) + ", is not after it", false;
      }
      last_time = time;
      if (bytes == 0 || bytes > value_bytes_max) {
        ++out.skipped;
        continue;
      }
      if (out.requests.size() == options.requests_max) return out.cut = true;
      trace_request q;
      q.time = time - first_time;
      q.object = numbers.of(little_endian<std::uint64_t>(r + 4));
      q.value_bytes = bytes;
      out.requests.push_back(q);
    }
    if (got % record_bytes != 0) {
      return error = "ends with " + std::to_string(got % record_bytes) + " bytes of a record of 24", false;
    }
    if (got < buffer.size()) return true;
  }
}

// ---- lines --------------------------------------------------------------------------------------------------------

using fields = std::vector<std::string_view>;

void split(std::string_view line, char delimiter, fields& out) {
  out.clear();
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  for (;;) {
    const std::size_t end = line.find(delimiter);
    out.push_back(line.substr(0, end));
    if (end == std::string_view::npos) return;
    line.remove_prefix(end + 1);
  }
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// A number of column `column`, from 0; seconds may have a fraction, which is dropped.
bool number_in(const fields& line, std::size_t column, std::uint64_t& number, std::string& error) {
  if (column >= line.size()) {
    error = "has " + std::to_string(line.size()) + " columns, not " + std::to_string(column + 1);
    return false;
  }
  const std::string_view text = trimmed(line[column]);
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), number);
  const bool fraction = end != text.data() + text.size() && *end == '.';
  if (failed == std::errc{} && (end == text.data() + text.size() || fraction)) return true;
  error = "column " + std::to_string(column + 1) + " is no number: " + std::string(text.substr(0, 40));
  return false;
}

// Calls take(fields, error) for each line; it answers false to stop, with an error or without.
template <class Take>
bool each_line(std::ifstream& file, char delimiter, std::string& error, Take&& take) {
  std::string line;
  fields parts;
  for (std::uint64_t number = 1; std::getline(file, line); ++number) {
    if (line.empty() || line == "\r") continue;
    split(line, delimiter, parts);
    if (take(number, parts)) continue;
    if (!error.empty()) error = "line " + std::to_string(number) + ": " + error;
    return error.empty();
  }
  return true;
}

struct csv_columns {
  std::size_t time = 0, object = 0, size = 0;  // from 1; 0: there is none
  char delimiter = ',';
  bool header = false;
};

bool parse_columns(std::string_view text, csv_columns& out, std::string& error) {
  while (!text.empty()) {
    const std::size_t equals = text.find('=');
    if (equals == std::string_view::npos) {
      error = "--csv: there is no = in " + std::string(text);
      return false;
    }
    const std::string_view name = trimmed(text.substr(0, equals));
    text.remove_prefix(equals + 1);
    std::size_t end = text.find(',');
    if (name == "delimiter" && end == 0) end = text.find(',', 1);  // the comma itself
    const std::string_view value = name == "delimiter" ? text.substr(0, end) : trimmed(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (name == "delimiter" && (value.size() == 1 || value == "\\t")) {
      out.delimiter = value == "\\t" ? '\t' : value.front();
      continue;
    }
    if (name == "has-header" || name == "obj-id-is-num") {
      if (name == "has-header") out.header = value == "true" || value == "1";
      continue;
    }
    std::size_t* const column = name == "time-col"       ? &out.time
                                : name == "obj-id-col"   ? &out.object
                                : name == "obj-size-col" ? &out.size
                                                         : nullptr;
    const auto [last, failed] = column == nullptr ? std::from_chars_result{value.data(), std::errc::invalid_argument}
                                                  : std::from_chars(value.data(), value.data() + value.size(), *column);
    if (failed != std::errc{} || last != value.data() + value.size() || *column == 0) {
      error = "--csv: cannot use " + std::string(name) + "=" + std::string(value);
      return false;
    }
  }
  if (out.object == 0) error = "--csv: obj-id-col is missing";
  return out.object != 0;
}

bool read_csv(std::ifstream& file, const request_trace_options& options, request_trace& out, std::string& error) {
  csv_columns columns;
  if (!parse_columns(options.csv, columns, error)) return false;
  numbering<std::string> numbers;
  std::uint64_t first_time = ~std::uint64_t{0}, last_time = 0;
  return each_line(file, columns.delimiter, error, [&](std::uint64_t line, const fields& parts) {
    if (line == 1 && columns.header) return true;
    std::uint64_t time = 0, bytes = 1;
    if (columns.time != 0 && !number_in(parts, columns.time - 1, time, error)) return false;
    if (columns.size != 0 && !number_in(parts, columns.size - 1, bytes, error)) return false;
    if (columns.object > parts.size()) return error = "has too few columns", false;
    if (time < last_time) return error = "time goes back", false;
    last_time = time;
    first_time = std::min(first_time, time);
    if (bytes == 0 || bytes > value_bytes_max) return ++out.skipped, true;
    if (out.requests.size() == options.requests_max) return out.cut = true, false;
    trace_request q;
    q.time = static_cast<std::uint32_t>(time - first_time);
    q.object = numbers.of(std::string(trimmed(parts[columns.object - 1])));
    q.value_bytes = static_cast<std::uint32_t>(bytes);
    out.requests.push_back(q);
    return true;
  });
}

bool operation_of(std::string_view text, cache_operation& out) {
  static constexpr std::pair<std::string_view, cache_operation> names[] = {
      {"get", cache_operation::get},       {"gets", cache_operation::get},        {"set", cache_operation::set},
      {"add", cache_operation::add},       {"replace", cache_operation::replace}, {"cas", cache_operation::replace},
      {"append", cache_operation::extend}, {"prepend", cache_operation::extend},  {"delete", cache_operation::remove},
      {"incr", cache_operation::count},    {"decr", cache_operation::count}};
  for (const auto& entry : names) {
    if (entry.first == text) return out = entry.second, true;
  }
  return false;
}

// What a get misses is stored as the object was last: gets have no ttl, and misses no size.
bool read_twitter(std::ifstream& file, const request_trace_options& options, request_trace& out, std::string& error) {
  numbering<std::string> numbers;
  struct known {
    std::uint32_t value_bytes = 0, ttl = 0;
  };
  std::vector<known> last;
  std::uint64_t first_time = ~std::uint64_t{0}, last_time = 0;
  return each_line(file, ',', error, [&](std::uint64_t, const fields& all) {
    // Keys may have commas of their own: the other columns count from the ends.
    if (all.size() < 7) return error = "has " + std::to_string(all.size()) + " columns, not 7", false;
    const fields tail(all.end() - 5, all.end());
    std::uint64_t time = 0, key_bytes = 0, value_bytes = 0, ttl = 0;
    if (!number_in(all, 0, time, error) || !number_in(tail, 0, key_bytes, error) ||
        !number_in(tail, 1, value_bytes, error) || !number_in(tail, 4, ttl, error)) {
      return false;
    }
    trace_request q;
    if (!operation_of(tail[3], q.operation)) return error = "no operation: " + std::string(tail[3]), false;
    if (time < last_time) return error = "time goes back", false;
    last_time = time;
    first_time = std::min(first_time, time);
    const char* const key = all[1].data();
    q.object = numbers.of(std::string(key, static_cast<std::size_t>(tail[0].data() - 1 - key)));
    if (q.object >= last.size()) last.resize(q.object + 1);
    known& k = last[q.object];
    if (value_bytes != 0)
      k.value_bytes = static_cast<std::uint32_t>(std::min<std::uint64_t>(value_bytes, value_bytes_max));
    if (q.operation != cache_operation::get && ttl != 0) k.ttl = static_cast<std::uint32_t>(ttl);
    if (out.requests.size() == options.requests_max) return out.cut = true, false;
    q.time = static_cast<std::uint32_t>(time - first_time);
    q.value_bytes = std::max(k.value_bytes, 1u);
    q.ttl = k.ttl;
    q.key_bytes = static_cast<std::uint8_t>(std::clamp<std::uint64_t>(key_bytes, key_bytes_min, key_bytes_max));
    out.requests.push_back(q);
    return true;
  });
}

trace_format guess_format(std::ifstream& file, const request_trace_options& options) {
  if (!options.csv.empty()) return trace_format::csv;
  char start[512];
  file.read(start, sizeof start);
  const std::string_view text(start, static_cast<std::size_t>(file.gcount()));
  file.clear();
  file.seekg(0);
  if (text.find('\0') != std::string_view::npos) return trace_format::oracle;
  fields parts;
  split(text.substr(0, text.find('\n')), ',', parts);
  cache_operation ignored{};
  return parts.size() >= 7 && operation_of(parts[parts.size() - 2], ignored) ? trace_format::twitter
                                                                             : trace_format::csv;
}

}  // namespace

void summarise_requests(request_trace& t) {
  std::vector<bool> seen;
  t.payload_bytes = 0;
  for (const trace_request& q : t.requests) {
    if (q.object >= seen.size()) seen.resize(q.object + std::size_t{1} + seen.size() / 2);
    if (seen[q.object]) continue;
    seen[q.object] = true;
    t.payload_bytes += std::uint64_t{q.key_bytes} + q.value_bytes;
    t.objects = std::max(t.objects, q.object + 1);
  }
}

bool read_request_trace(const std::string& path, const request_trace_options& options, request_trace& out,
                        std::string& error) {
  out = {};
  out.name = path.substr(path.find_last_of('/') + 1);
  std::ifstream file(path, std::ios::binary);
  if (!file) return error = path + ": " + std::strerror(errno), false;
  const trace_format format = options.format == trace_format::automatic ? guess_format(file, options) : options.format;
  bool ok = false;
  if (format == trace_format::csv && options.csv.empty()) {
    error = "is no trace of a known format; for a CSV file say --csv \"time-col=1, obj-id-col=2, obj-size-col=3\"";
  } else {
    ok = format == trace_format::oracle    ? read_oracle(file, options, out, error)
         : format == trace_format::twitter ? read_twitter(file, options, out, error)
                                           : read_csv(file, options, out, error);
  }
  if (ok && file.bad()) ok = false, error = "cannot be read to its end";
  if (ok && out.requests.empty()) ok = false, error = "has no requests";
  if (!ok) return error = path + ": " + error, false;
  summarise_requests(out);
  return true;
}

}  // namespace tools

// A payload that knows how long it has:   g++ -o payload payload.cpp && mjf-agent exec --grace 2m -- ./payload
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <string>
#include <unistd.h>

static volatile std::sig_atomic_t stopped = 0;
static std::string variable(const char* name, const char* otherwise) { const char* text = std::getenv(name); return text ? text : otherwise; }
static void run(const std::string& command) { if (std::system(command.c_str()) != 0) std::fprintf(stderr, "failed: %s\n", command.c_str()); }
static void say(const std::string& json) {
  if (std::getenv("MJF_PAYLOAD_URL")) run("curl -fsS -m 5 -X PATCH -H 'content-type: application/json' -d '" + json + "' \"$MJF_PAYLOAD_URL\" > /dev/null");
}
static bool deadline(long& at) { return static_cast<bool>(std::ifstream(variable("JOBFEATURES", "") + "/shutdowntime_job") >> at); }  // no file: none is foreseen

int main() {
  const long total = std::stol(variable("EVENTS", "100")), need = std::stol(variable("EVENT_SECS", "1")), lead = std::stol(variable("LEAD_SECS", "120"));
  const long air = 5;  // seconds in hand: an event may take a little longer
  long done = 0, at = 0;
  std::ifstream("checkpoint") >> done;
  std::signal(SIGTERM, [](int) { stopped = 1; });
  for (; done < total && !stopped; ++done) {
    if (deadline(at) && at - std::time(nullptr) <= need + lead + air) break;  // another event would not be ready in time
    say("{\"can_terminate\":false,\"needs_secs\":" + std::to_string((total - done) * need) + ",\"progress\":" + std::to_string(double(done) / total) + "}");
    if (sleep(need) > 0) break;  // the event; SIGTERM ends it
  }
  std::ofstream("checkpoint.new") << done << '\n';
  std::rename("checkpoint.new", "checkpoint");
  const std::string count = std::to_string(done) + " of " + std::to_string(total) + " events";
  if (stopped) return std::printf("SIGTERM: stopped after %s\n", count.c_str()), 0;  // in order; "exec" makes 75 of it
  run("mjf-agent finish " + std::string(done < total ? "100 'stopped before the deadline, after " : "200 'done: ") + count + "'");
  return done < total ? 75 : 0;  // 75: requeue me
}

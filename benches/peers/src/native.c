/* One sample of a kernel compiled natively; arguments: cold|steady|warmup, n, seconds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int run(int n);

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* The most memory this process had, in bytes; 0 where the system does not tell. */
static unsigned long long peak_rss(void) {
  unsigned long long kib = 0;
  char line[256];
  FILE *status = fopen("/proc/self/status", "r");
  if (!status) return 0;
  while (fgets(line, sizeof line, status))
    if (sscanf(line, "VmHWM: %llu", &kib) == 1) break;
  fclose(status);
  return kib * 1024;
}

static void finish(double seconds, int answer) {
  printf("{\"ns\":%.0f,\"answer\":%d", seconds * 1e9, answer);
  if (peak_rss()) printf(",\"peak_rss\":%llu", peak_rss());
}

static int warmup(int n, double span) {
  enum { MOST = 1 << 20 };
  double *ends = malloc(MOST * sizeof *ends);
  if (!ends) return 2;
  double start = now();
  int calls = 0, answer = run(n), again = answer;
  for (ends[calls++] = now() - start; ends[calls - 1] < span && calls < MOST; ends[calls++] = now() - start)
    if ((again = run(n)) != answer) break;
  finish(ends[calls - 1] / calls, again);
  printf(",\"ends\":[0");
  for (int at = 0; at < calls; at++) printf(",%.0f", ends[at] * 1e9);
  printf("]}\n");
  return 0;
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  int n = atoi(argv[2]);
  if (strcmp(argv[1], "warmup") == 0 && argc > 3) return warmup(n, atof(argv[3]));
  double start = now();
  int answer = run(n);
  double best = now() - start;
  if (strcmp(argv[1], "steady") == 0 && argc > 3) {
    double span = atof(argv[3]);
    while (now() - start < span) run(n);
    best = 1e9;
    for (double measuring = now(); now() - measuring < span || best == 1e9;) {
      double before = now();
      int again = run(n);
      double time = now() - before;
      if (again != answer) { answer = again; best = time; break; }
      if (time < best) best = time;
    }
  }
  finish(best, answer);
  printf("}\n");
  return 0;
}

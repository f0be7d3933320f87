#define _GNU_SOURCE
#include "batch.h"

#include <fenv.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#define MAX_THREADS 256
#define RANGE_WINDOWS 65536      /* a search numbers documents with 32 bits */
#define THREAD_POSTINGS 65536    /* fewest postings that repay starting a thread */

int64_t monotonic_nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void free_matches(struct matches *results, int64_t n) {
    for (int64_t i = 0; i < n; i++) free(results[i].docs), free(results[i].scores);
}

struct job {
    struct batch *batch;
    int64_t ranges;          /* a query's windows are searched in this many ranges */
    struct matches *results; /* [n_queries * ranges] */
    atomic_llong next;
    atomic_int failed, damaged;
};

struct worker {
    struct job *job;
    struct workspace *work;
};

/* Score query i's documents by their rows, or else by the postings: 0, or -1. */
static int score_documents(struct job *job, struct query *query, struct workspace *work, int64_t i) {
    const struct batch *b = job->batch;
    const int64_t *docs = b->docs + b->doc_offsets[i], n = b->doc_offsets[i + 1] - b->doc_offsets[i];
    float *scores = b->scores + b->doc_offsets[i];
    if (!n) return 0;
    int rows = b->rows_store ? score_rows(b->rows_store, b->postings, query, work, docs, n, scores) : ROWS_UNSUITED;
    if (rows == ROWS_DAMAGED) atomic_store(&job->damaged, 1);
    if (rows != ROWS_UNSUITED) return rows == ROWS_SCORED ? 0 : -1;
    query->first_window = docs[0] >> WINDOW_BITS, query->last_window = (docs[n - 1] >> WINDOW_BITS) + 1;
    return b->score(b->postings, query, work, docs, n, scores);
}

/* Results must not depend on what other libraries did to the thread: subnormals count, rounding is to nearest. */
static void *run_worker(void *argument) {
    struct worker *worker = argument;
    struct job *job = worker->job;
    const struct batch *b = job->batch;
    fenv_t environment;
    fegetenv(&environment);
    fesetenv(FE_DFL_ENV);
    for (;;) {
        int64_t item = atomic_fetch_add(&job->next, 1), i = item / job->ranges, range = item % job->ranges;
        if (i >= b->n_queries || atomic_load(&job->failed)) break;
        int64_t first = b->offsets[i], windows = b->postings->n_windows;
        struct query query = {.n_terms = b->offsets[i + 1] - first,
                              .terms = b->terms + first,
                              .weights = b->weights ? b->weights + first : NULL,
                              .rows = b->rows ? b->rows + first : NULL,
                              .groups = b->groups ? b->groups + first : NULL,
                              .once = b->once,
                              .units = b->units,
                              .tables = b->tables,
                              .k = b->k,
                              .mask = b->mask,
                              .deadline = b->deadline,
                              .first_window = range * (windows / job->ranges) + (range < windows % job->ranges ? range : windows % job->ranges),
                              .count_only = b->count_only && b->offsets[i + 1] - first <= MAX_COUNTED_TERMS};
        query.last_window = query.first_window + windows / job->ranges + (range < windows % job->ranges);
        if (b->tables && !b->rows) query.tables += first * b->postings->n_codes;
        if (b->score) {
            if (score_documents(job, &query, worker->work, i)) atomic_store(&job->failed, 1);
        } else if (b->search(b->postings, &query, worker->work, &job->results[item])) atomic_store(&job->failed, 1);
    }
    fesetenv(&environment);
    return NULL;
}

/* Merge one query's ranges: earlier ranges hold lower documents, so they win ties. */
static int merge_ranges(const struct matches *ranges, int64_t n, int64_t k, struct matches *out) {
    int64_t total = 0, *heads = calloc((size_t)n, sizeof *heads);
    *out = (struct matches){0};
    for (int64_t r = 0; r < n; r++) total += ranges[r].size, out->partial |= ranges[r].partial;
    if (total > k) total = k;
    out->docs = malloc((size_t)(total + 1) * sizeof *out->docs);
    out->scores = malloc((size_t)(total + 1) * sizeof *out->scores);
    if (!heads || !out->docs || !out->scores) {
        free(heads);
        return -1;
    }
    for (; out->size < total; out->size++) {
        int64_t best = -1;
        for (int64_t r = 0; r < n; r++)
            if (heads[r] < ranges[r].size && (best < 0 || ranges[r].scores[heads[r]] > ranges[best].scores[heads[best]])) best = r;
        out->docs[out->size] = ranges[best].docs[heads[best]];
        out->scores[out->size] = ranges[best].scores[heads[best]++];
    }
    free(heads);
    return 0;
}

static int64_t count_postings(const struct batch *b) {
    int64_t postings = 0;
    for (int64_t i = 0; i < b->offsets[b->n_queries]; i++) postings += b->postings->starts[b->terms[i] + 1] - b->postings->starts[b->terms[i]];
    return postings;
}

static void run_threads(struct worker *workers, int threads) {
    pthread_t handles[MAX_THREADS];
    int started = 1; /* the calling thread works too; a thread that does not start is done without */
    for (; started < threads; started++)
        if (pthread_create(&handles[started], NULL, run_worker, &workers[started])) break;
    run_worker(&workers[0]);
    for (int i = 1; i < started; i++) pthread_join(handles[i], NULL);
}

int search_batch(struct batch *b, struct workspace **pool) {
    int64_t windows = b->postings->n_windows, useful = 1 + count_postings(b) / THREAD_POSTINGS;
    int threads = b->threads < MAX_THREADS ? b->threads : MAX_THREADS;
    if (threads > useful) threads = (int)useful;
    struct job job = {.batch = b, .ranges = 1};
    if (b->n_queries && b->n_queries < threads && !b->score) job.ranges = (threads + b->n_queries - 1) / b->n_queries;
    if (job.ranges > windows) job.ranges = windows ? windows : 1;
    if (job.ranges < (windows + RANGE_WINDOWS - 1) / RANGE_WINDOWS && !b->score) job.ranges = (windows + RANGE_WINDOWS - 1) / RANGE_WINDOWS;
    if (threads > b->n_queries * job.ranges) threads = b->n_queries ? (int)(b->n_queries * job.ranges) : 1;
    int64_t items = b->n_queries * job.ranges;
    job.results = job.ranges == 1 ? b->results : calloc((size_t)items + 1, sizeof *job.results);
    struct worker workers[MAX_THREADS];
    int failed = !job.results && !b->score, ready = 0;
    for (; ready < threads && !failed; ready++) {
        struct workspace *work = *pool ? *pool : new_workspace();
        if (*pool) *pool = work->next;
        workers[ready] = (struct worker){&job, work};
        failed = !work;
    }
    if (!failed) run_threads(workers, threads);
    failed |= atomic_load(&job.failed);
    b->damaged = atomic_load(&job.damaged);
    for (int i = 0; i < ready; i++)
        if (workers[i].work) workers[i].work->next = *pool, *pool = workers[i].work;
    if (job.ranges > 1 && job.results) {
        for (int64_t i = 0; i < b->n_queries && !failed; i++)
            failed |= merge_ranges(job.results + i * job.ranges, job.ranges, b->k, &b->results[i]);
        free_matches(job.results, items);
        free(job.results);
    }
    if (failed && b->results) free_matches(b->results, b->n_queries);
    return failed ? -1 : 0;
}

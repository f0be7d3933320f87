/* What a search needs beside the index, kept between searches. */
#ifndef TAMIS_WORKSPACE_H
#define TAMIS_WORKSPACE_H

#include "postings.h"

/* Memory that queries reuse; the accumulators are clean between queries. */
struct workspace {
    struct workspace *next;
    float *sums;      /* WINDOW_SIZE, clean is -0.0 */
    uint8_t *bounds;  /* WINDOW_SIZE, clean is 0 */
    uint16_t *counts; /* WINDOW_SIZE, clean is 0 */
    uint8_t mask[WINDOW_SIZE / 8];
    uint16_t candidates[WINDOW_SIZE];
    float scores[WINDOW_SIZE];
    struct arena { void *memory; int64_t size; } keys, cursors, tables, small_tables, terms, exact;
};

struct workspace *new_workspace(void); /* NULL when memory ran out */
void free_workspaces(struct workspace *pool);
void *grow(struct arena *arena, int64_t size); /* NULL when memory ran out; the contents are lost */
void *grow_kept(struct arena *arena, int64_t used, int64_t size); /* the first `used` bytes stay */

#endif

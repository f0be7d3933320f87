#include "workspace.h"

#include <stdlib.h>
#include <string.h>

void *grow(struct arena *arena, int64_t size) {
    if (size > arena->size || !arena->memory) {
        int64_t rounded = (size + size / 4 + 127) / 64 * 64; /* aligned_alloc wants a multiple of the alignment */
        free(arena->memory);
        arena->memory = aligned_alloc(64, (size_t)rounded);
        arena->size = arena->memory ? rounded : 0;
    }
    return arena->memory;
}

void *grow_kept(struct arena *arena, int64_t used, int64_t size) {
    if (size <= arena->size) return arena->memory;
    struct arena larger = {0};
    if (!grow(&larger, 2 * size)) return NULL;
    memcpy(larger.memory, arena->memory, (size_t)used);
    free(arena->memory);
    *arena = larger;
    return arena->memory;
}

static void free_workspace(struct workspace *w) {
    if (!w) return;
    free(w->sums), free(w->bounds), free(w->counts);
    free(w->keys.memory), free(w->cursors.memory), free(w->tables.memory), free(w->small_tables.memory), free(w->terms.memory);
    free(w->exact.memory);
    free(w);
}

void free_workspaces(struct workspace *pool) {
    while (pool) {
        struct workspace *next = pool->next;
        free_workspace(pool);
        pool = next;
    }
}

struct workspace *new_workspace(void) {
    struct workspace *w = calloc(1, sizeof *w);
    if (!w) return NULL;
    w->sums = aligned_alloc(64, WINDOW_SIZE * sizeof *w->sums);
    w->bounds = aligned_alloc(64, WINDOW_SIZE);
    w->counts = aligned_alloc(64, WINDOW_SIZE * sizeof *w->counts);
    if (!w->sums || !w->bounds || !w->counts) {
        free_workspace(w);
        return NULL;
    }
    for (int i = 0; i < WINDOW_SIZE; i++) w->sums[i] = -0.0f;
    memset(w->bounds, 0, WINDOW_SIZE);
    memset(w->counts, 0, WINDOW_SIZE * sizeof *w->counts);
    return w;
}

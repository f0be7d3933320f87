#include "build.h"

#include <stdlib.h>

static int64_t get(const void *values, int wide, int64_t i) {
    return wide ? ((const int64_t *)values)[i] : ((const int32_t *)values)[i];
}

const char *fill_postings(const struct postings *p, const struct triples *t, int64_t *at) {
    uint16_t *offsets = (uint16_t *)p->offsets, *all_words = (uint16_t *)p->directory;
    int64_t *filled = calloc((size_t)p->n_terms + 1, sizeof *filled); /* postings of each term so far */
    int64_t *newest = malloc(((size_t)p->n_terms + 1) * sizeof *newest);
    const char *wrong = filled && newest ? NULL : "out of memory";
    for (int64_t i = 0; newest && i < p->n_terms; i++) newest[i] = -1;
    for (*at = 0; *at < t->n && !wrong; ++*at) {
        int64_t term = get(t->terms, t->wide_terms, *at), doc = get(t->docs, t->wide_docs, *at);
        if (term < 0 || term >= p->n_terms) wrong = "the term is out of range";
        else if (doc < 0 || doc >= p->n_docs) wrong = "the document is out of range";
        else if (doc <= newest[term]) wrong = "a term's documents must ascend, each once";
        else if (filled[term] >= p->starts[term + 1] - p->starts[term]) wrong = "the term has more postings than counted";
        if (wrong) break;
        int64_t rank = filled[term]++, posting = p->starts[term] + rank, window = doc >> WINDOW_BITS;
        uint16_t *words = all_words + p->directory_starts[term];
        newest[term] = doc;
        offsets[posting] = (uint16_t)doc;
        if (p->code_bits == 8) ((uint8_t *)p->codes)[posting] = ((const uint8_t *)t->codes)[*at];
        else if (p->code_bits == 16) ((uint16_t *)p->codes)[posting] = ((const uint16_t *)t->codes)[*at];
        switch (form_of(p, p->starts[term + 1] - p->starts[term])) {
        case UNARY: words[(rank + window) / 16] |= (uint16_t)(1u << ((rank + window) % 16)); break;
        case NUMBERS:
            if (number_words(p) == 1) words[rank] = (uint16_t)window;
            else words[2 * rank] = (uint16_t)window, words[2 * rank + 1] = (uint16_t)(window >> 16);
            break;
        default: break;
        }
    }
    free(filled), free(newest);
    return wrong;
}

void list_documents(const struct postings *p, int64_t first, int64_t last, int64_t *docs) {
    for (int64_t term = first; term < last; term++)
        for (struct cursor c = open_cursor(p, term); c.window != NO_WINDOW; next_run(p, &c))
            for (int64_t i = 0; i < c.count; i++) *docs++ = (c.window << WINDOW_BITS) + p->offsets[c.first + i];
}

/* The bounds checks: once the ends and a term have passed, no query of that term can make the kernel read outside the arrays.
   A term's own check reads the term's own data, so that a search pays for what it touches, once. */
#include "postings.h"

static int64_t count_ones(const uint16_t *words, int64_t length) {
    int64_t ones = 0;
    for (int64_t i = 0; i < length; i++) ones += __builtin_popcount(words[i]);
    return ones;
}

static int ascending(const uint16_t *offsets, int64_t count) {
    int wrong = 0;
    for (int64_t i = 1; i < count; i++) wrong |= offsets[i] <= offsets[i - 1];
    return !wrong;
}

/* One more than the largest code of a run; 1 without codes. */
static int32_t code_range(const struct postings *p, int64_t first, int64_t count) {
    int32_t largest = 0;
    if (p->code_bits == 8) {
        const uint8_t *codes = (const uint8_t *)p->codes + first;
        for (int64_t i = 0; i < count; i++) largest = codes[i] > largest ? codes[i] : largest;
    } else if (p->code_bits == 16) {
        const uint16_t *codes = (const uint16_t *)p->codes + first;
        for (int64_t i = 0; i < count; i++) largest = codes[i] > largest ? codes[i] : largest;
    }
    return largest + 1;
}

static const char *check_runs(const struct postings *p, int64_t term) {
    int64_t frequency = p->starts[term + 1] - p->starts[term];
    int64_t length = p->directory_starts[term + 1] - p->directory_starts[term];
    const uint16_t *directory = p->directory + p->directory_starts[term];
    int32_t longest = 1;
    if (frequency && form_of(p, frequency) == UNARY && count_ones(directory, length) != frequency)
        return "the window counts do not sum to the number of postings";
    int64_t before = -1;
    /* As many ones as postings: the walk ends inside the term's own words whatever they hold. */
    for (struct cursor c = open_cursor(p, term); c.window != NO_WINDOW; next_run(p, &c)) {
        if (c.window <= before || c.window >= p->n_windows) return "a window number is out of order or out of range";
        if (!ascending(p->offsets + c.first, c.count)) return "document offsets do not ascend in a window";
        if (p->offsets[c.first + c.count - 1] >= p->n_docs - (c.window << WINDOW_BITS))
            return "a document number is not below the number of documents";
        int32_t length = code_range(p, c.first, c.count);
        if (p->code_bits && length > p->n_codes) return "a code is not below the number of codes";
        longest = length > longest ? length : longest;
        before = c.window;
    }
    __atomic_store_n(&p->lengths[term], longest, __ATOMIC_RELAXED);
    return NULL;
}

const char *check_ends(const struct postings *p) {
    if (p->starts[0] != 0 || p->starts[p->n_terms] != p->n_postings) return "the posting pointers do not span the postings";
    if (p->directory_starts[0] != 0 || p->directory_words < DIRECTORY_PADDING ||
        p->directory_starts[p->n_terms] != p->directory_words - DIRECTORY_PADDING)
        return "the directory pointers do not span the directory";
    return NULL;
}

const char *check_term(const struct postings *p, int64_t term) {
    int64_t first = p->starts[term], last = p->starts[term + 1];
    int64_t words = p->directory_starts[term], words_end = p->directory_starts[term + 1];
    if (first < 0 || last < first || last > p->n_postings) return "the posting pointers do not ascend";
    if (words < 0 || words_end < words || words_end > p->directory_words - DIRECTORY_PADDING)
        return "the directory pointers do not ascend";
    if (last - first > p->n_docs) return "a term has more postings than there are documents";
    if (words_end - words != directory_length(p, last - first)) return "a directory entry has the wrong length";
    return check_runs(p, term);
}

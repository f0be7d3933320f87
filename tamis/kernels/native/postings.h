/* The postings layout, and the cursor that walks one term's runs. The layout is described in tamis/kernels/postings.py.

   Nothing here checks bounds: the struct postings has passed check_ends() and every term that a cursor is opened on
   check_term() (check.c), after which no walk can leave the arrays. */
#ifndef TAMIS_POSTINGS_H
#define TAMIS_POSTINGS_H

#include <stdint.h>
#include <string.h>

#define WINDOW_BITS 16
#define WINDOW_SIZE 65536
#define DIRECTORY_PADDING 4 /* 16-bit words after the last term, so that a 64-bit read at any bit stays inside */
#define NO_WINDOW INT64_MAX

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the postings layout is little-endian"
#endif

struct postings {
    int64_t n_docs, n_terms, n_postings, n_windows, directory_words;
    int32_t code_bits; /* 0 (binary), 8 or 16 */
    int32_t n_codes;   /* length of a value table; 0 without codes */
    const int64_t *starts;
    const int64_t *directory_starts;
    const uint16_t *directory;
    const uint16_t *offsets;
    const void *codes;
    int32_t *lengths; /* [n_terms]: a term's largest code and 1, which check_term() finds; 0 before. NULL where nothing is searched */
};

/* How a term's windows are stored: not at all (one window), as a number a posting, or as unary counts a window. */
enum form { ONE_WINDOW, NUMBERS, UNARY };

static inline int number_words(const struct postings *p) { return p->n_windows > WINDOW_SIZE ? 2 : 1; }

static inline enum form form_of(const struct postings *p, int64_t frequency) {
    if (p->n_windows <= 1) return ONE_WINDOW;
    return frequency <= (p->n_windows - 1) / (16 * number_words(p) - 1) ? NUMBERS : UNARY;
}

static inline int64_t directory_length(const struct postings *p, int64_t frequency) {
    switch (form_of(p, frequency)) {
    case ONE_WINDOW: return 0;
    case NUMBERS: return frequency * number_words(p);
    default: return (frequency + p->n_windows + 15) / 16;
    }
}

/* A run: the postings of one term in one window. */
struct cursor {
    const uint16_t *directory;
    int64_t first, count; /* the current run */
    int64_t end;          /* of the term */
    int64_t window;       /* of the current run; NO_WINDOW after the last */
    int64_t bit;          /* UNARY: next bit to read; NUMBERS: postings read */
    enum form form;
};

/* The next bits of the directory, at least 48 of them, the rest zero. */
static inline uint64_t bits_at(const uint16_t *words, int64_t bit) {
    uint64_t value;
    memcpy(&value, words + (bit >> 4), sizeof value);
    return value >> (bit & 15);
}

static inline int64_t window_number(const struct cursor *c, int words, int64_t i) {
    return words == 1 ? c->directory[i] : (int64_t)c->directory[2 * i] | (int64_t)c->directory[2 * i + 1] << 16;
}

static inline void next_run(const struct postings *p, struct cursor *c) {
    c->first += c->count;
    c->count = 0;
    if (c->first == c->end) {
        c->window = NO_WINDOW;
        return;
    }
    if (c->form == UNARY) { /* zeros end a window each, ones count postings */
        int64_t window = c->window + 1, bit = c->bit;
        uint64_t bits;
        while (!(bits = bits_at(c->directory, bit) & 0xFFFFFFFFFFFFu)) bit += 48, window += 48;
        int zeros = __builtin_ctzll(bits);
        bit += zeros, window += zeros;
        const int64_t begun = bit, last = bit + c->end - c->first; /* no run is longer than what is left */
        int ones = __builtin_ctzll(~bits_at(c->directory, bit) | (uint64_t)1 << 48);
        bit += ones;
        if (ones == 48) { /* long: from a word's first bit, 64 at a time */
            bit &= ~(int64_t)15;
            while (bit < last && !~bits_at(c->directory, bit)) bit += 64;
            if (bit < last) bit += __builtin_ctzll(~bits_at(c->directory, bit));
        }
        c->count = bit - begun;
        c->window = window, c->bit = bit + 1;
    } else if (c->form == NUMBERS) {
        int words = number_words(p);
        int64_t i = c->bit, last = c->end - c->first + i;
        c->window = window_number(c, words, i);
        while (i < last && window_number(c, words, i) == c->window) i++;
        c->count = i - c->bit, c->bit = i;
    } else {
        c->window = 0, c->count = c->end - c->first;
    }
}

/* A cursor on the first run of a term. */
static inline struct cursor open_cursor(const struct postings *p, int64_t term) {
    struct cursor c = {.directory = p->directory + p->directory_starts[term],
                       .first = p->starts[term],
                       .end = p->starts[term + 1],
                       .window = -1,
                       .form = form_of(p, p->starts[term + 1] - p->starts[term])};
    next_run(p, &c);
    return c;
}

/* NULL, or what is wrong (a static string). */
const char *check_ends(const struct postings *p);
const char *check_term(const struct postings *p, int64_t term); /* after check_ends */

#endif

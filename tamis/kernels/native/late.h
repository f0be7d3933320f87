/* MaxSim over codes of token vectors, one query: the types that the instruction-set builds of late_body.h share.

   All is whole numbers, so that every build and NumPy give the same bytes. A token is the sum x of its centroid and its codewords, a
   codeword eight int16 of which those past its group's dimensions are zero, plus x k / 2^15 rounded, where the token's last byte b
   says how long it was: k = (b - 128) 64. A query token is int16; products with it are summed in 32 bits, and the maxima in 64. */
#ifndef TAMIS_LATE_H
#define TAMIS_LATE_H

#include <stdint.h>

#define LATE_WORDS 256
#define LATE_WIDEST 8    /* dimensions of a codeword */
#define LATE_LANES 16    /* query tokens are padded to so many; the rest are zero */
#define LATE_TABLE 32    /* and in the table of centroids to so many */

struct late {
    int64_t n_rows, n_tokens, n_centroids;
    const int64_t *offsets; /* [n_rows + 1] */
    const char *ids;        /* [n_tokens], of two or four bytes */
    int id_bytes;
    /* by centroids alone */
    const uint8_t *table; /* [n_centroids, width] */
    int64_t width;
    /* in full */
    const int16_t *pairs; /* [(dim + 1) / 2, lanes, 2] */
    int64_t lanes, dim, groups;
    const int16_t *centroids; /* [n_centroids, dim] */
    const int16_t *books;     /* [groups, 256, 8] */
    const int64_t *bounds;    /* [groups + 1] */
    const uint8_t *codes;     /* [n_tokens, groups + 1] */
};

/* Score rows that are within range: 0, or -1 where a token's centroid, or the tokens of a row, are not, or there is no memory. */
typedef int late_function(const struct late *l, const int64_t *rows, int64_t n, int64_t *scores);

late_function late_scan_baseline, late_scan_avx2, late_scan_avx512, late_scan_avx512vnni;
late_function late_score_baseline, late_score_avx2, late_score_avx512, late_score_avx512vnni;

#endif

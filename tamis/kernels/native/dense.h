/* One query over rows of dense vectors or of their codes: the types that the instruction-set builds of dense_body.h share.

   The score of a float row is defined to the bit: sixteen running sums in float32, sum j over the elements j, j + 16, j + 32 …
   (the row padded with zeros), each product rounded before it is added; then sum j takes sum j + 8, then j + 4, j + 2, j + 1.
   Integer codes are summed exactly. All builds and NumPy therefore give the same bytes. */
#ifndef TAMIS_DENSE_H
#define TAMIS_DENSE_H

#include <stdint.h>

#include "topk.h"

enum dense_kind { DENSE_FLOAT32, DENSE_FLOAT16, DENSE_BFLOAT16, DENSE_INT8, DENSE_BIT, N_DENSE_KINDS };

#define DENSE_LANES 16
#define DENSE_BLOCK 64       /* rows scored before the threshold is looked at; whole bytes of the mask */
#define MAX_DIMENSIONS 65536 /* int8 sums stay inside 32 bits */
#define MAX_PLANES 8
#define DENSE_PLANES 5         /* those of codes.py, for which there are faster loops */

struct dense {
    enum dense_kind kind;
    int64_t n, dim;          /* rows, and elements of one (bits, for DENSE_BIT) */
    int64_t row_bytes;
    const char *data;        /* [n, row_bytes] */
    const float *factors;    /* [n]: what an integer sum is multiplied by; NULL for floats */
    const float *query;      /* floats: padded with zeros to whole lanes */
    const int8_t *codes;     /* DENSE_INT8: [dim] */
    const uint64_t *planes;  /* DENSE_BIT: [n_planes, words], two's complement, the highest (negative) plane first */
    int32_t n_planes;
    int32_t correction;      /* int8: 128 times the sum of codes; bit: the sum of the query's values */
    float scale, base;       /* an integer sum s of row i becomes factors[i] * (scale * s) + base */
    const uint8_t *mask;     /* bit i (little-endian) allows row i; NULL allows all */
};

/* Push the rows first … last - 1 onto `best`, whose buffer holds limit + DENSE_BLOCK keys: -1, or the first row of a score that
   is no finite number. `first` is a multiple of 8. */
typedef int64_t dense_scan_function(const struct dense *d, int64_t first, int64_t last, struct topk *best);

/* The scores of given rows. */
typedef void dense_score_function(const struct dense *d, const int64_t *rows, int64_t n, float *scores);

dense_scan_function dense_scan_baseline, dense_scan_avx2, dense_scan_avx512, dense_scan_avx512vnni;
dense_score_function dense_score_baseline, dense_score_avx2, dense_score_avx512, dense_score_avx512vnni;

#endif

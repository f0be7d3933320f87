/* Documents as rows of terms, to score given documents by: one row is read where postings are looked up once a term.

   Rows lie in shards, one after another. A row names dimensions, which the postings' terms stand for, ascending; what it holds
   is what the postings hold. */
#ifndef TAMIS_ROWS_H
#define TAMIS_ROWS_H

#include "search.h"

struct row_shard {
    const int64_t *starts; /* [rows + 1] */
    const void *dims, *codes; /* codes: NULL where the postings have none */
    int64_t first, rows, entries; /* first: its first document */
    int32_t dim_bits, code_bits;  /* 16 or 32; 0, 8 or 16 */
};

struct row_store {
    struct row_shard *shards;
    int64_t n_shards, n_docs, n_terms;
    const uint32_t *term_dims; /* [n_terms], ascending: the dimension of each term */
};

enum { ROWS_SCORED = 0, ROWS_NO_MEMORY = -1, ROWS_UNSUITED = 1, ROWS_DAMAGED = 2 };

/* The scores of n documents, which ascend, with the same bits as score_function gives. ROWS_UNSUITED where the query's sums are
   not made one by one in ascending order of terms; the documents are then left to the postings. */
int score_rows(const struct row_store *store, const struct postings *postings, const struct query *query,
               struct workspace *work, const int64_t *docs, int64_t n, float *scores);

#endif

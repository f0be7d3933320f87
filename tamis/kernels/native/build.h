/* Turning (term, document, code) triples into postings, and back. */
#ifndef TAMIS_BUILD_H
#define TAMIS_BUILD_H

#include "postings.h"

struct triples {
    int64_t n;
    const void *terms, *docs; /* int32_t or int64_t, as wide_* says */
    int wide_terms, wide_docs;
    const void *codes; /* of the width that the postings have, or NULL */
};

/* Scatter the triples into the postings, whose pointers are filled and whose directory is zero. Documents must ascend within
   a term. NULL, or what is wrong (a static string) with the place of the offending triple in *at. */
const char *fill_postings(const struct postings *p, const struct triples *triples, int64_t *at);

/* The documents of the terms [first, last), one term after the other. */
void list_documents(const struct postings *p, int64_t first, int64_t last, int64_t *docs);

#endif

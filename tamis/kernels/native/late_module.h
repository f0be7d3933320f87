/* The functions over codes of token vectors that module.c registers. Their arguments, in order:

   late_scan(kernel, table, width, ids, id_bytes, offsets, rows) -> scores
   late_scores(kernel, pairs, lanes, centroids, books, bounds, ids, id_bytes, codes, offsets, rows) -> scores

   Scores are bytes of int64. IndexError: codes name what there is not. */
#ifndef TAMIS_LATE_MODULE_H
#define TAMIS_LATE_MODULE_H

#include <Python.h>

#include "late.h"

PyObject *late_scan(PyObject *module, PyObject *args);
PyObject *late_scores(PyObject *module, PyObject *args);

#define LATE_METHODS                                                                                                   \
    {"late_scan", late_scan, METH_VARARGS, "Rows scored by their tokens' centroids; see late_module.h."},             \
    {"late_scores", late_scores, METH_VARARGS, "Rows scored by their tokens' codes; see late_module.h."}

#endif

/* The functions over dense rows that module.c registers. Their arguments, in order:

   dense_scan(kernel, kind, dim, rows, factors, query, scale, base, correction, mask, first, last, k) -> (rows, scores, bad)
   dense_scores(kernel, kind, dim, rows, factors, query, scale, base, correction, numbers) -> scores

   Results are bytes of int64 and float32; `bad` is the first row whose score is no finite number, or -1. */
#ifndef TAMIS_DENSE_MODULE_H
#define TAMIS_DENSE_MODULE_H

#include <Python.h>

#include "dense.h"

PyObject *dense_scan(PyObject *module, PyObject *args);
PyObject *dense_scores(PyObject *module, PyObject *args);

#define DENSE_METHODS                                                                                                     \
    {"dense_scan", dense_scan, METH_VARARGS, "Top-k of one query over rows first to last - 1; see dense_module.h."},     \
    {"dense_scores", dense_scores, METH_VARARGS, "The scores of given rows for one query; see dense_module.h."}

#endif

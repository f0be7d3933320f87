/* The type Rows that module.c registers; explained in tamis/kernels/rows.py. */
#ifndef TAMIS_ROWS_MODULE_H
#define TAMIS_ROWS_MODULE_H

#include <Python.h>

#include "rows.h"

/* A new type, or NULL with an exception set. Damage in the data raises `damaged`, a subclass of ValueError. */
PyObject *make_rows_type(PyObject *damaged);

/* The rows of an object of that type: NULL with an exception set for another object. */
const struct row_store *rows_of(PyObject *object);

#endif

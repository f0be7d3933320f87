/* The type StringColumn that module.c registers; explained in tamis/kernels/strings.py. */
#ifndef TAMIS_STRINGS_MODULE_H
#define TAMIS_STRINGS_MODULE_H

#include <Python.h>

/* A new type, or NULL with an exception set. Damage in the data raises `damaged`, a subclass of ValueError. */
PyObject *make_string_column_type(PyObject *damaged);

#endif

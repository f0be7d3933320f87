/* Many short strings out of mapped files. A column is a row of blocks, each with int32 offsets and UTF-8 bytes (Arrow's layout of
   strings). What a search asks for lies anywhere in them, so that most of the time is waiting for memory: positions are taken a
   few at a time, and what the next step will read is asked for first. */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "strings_module.h"

enum { AT_ONCE = 32 };

struct block {
    Py_buffer view;
    int64_t first, rows; /* first: position of its first string in the column */
    const char *offsets, *data;
    int64_t size; /* of what follows `data` in the file */
};

typedef struct {
    PyObject_HEAD
    int64_t n_blocks, rows;
    struct block *blocks;
} StringColumn;

static PyObject *damaged_error;

static void column_dealloc(PyObject *self) {
    StringColumn *column = (StringColumn *)self;
    PyTypeObject *type = Py_TYPE(self);
    for (int64_t i = 0; i < column->n_blocks; i++) PyBuffer_Release(&column->blocks[i].view);
    free(column->blocks);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

/* Append a block from (buffer, offsets_at, data_at, rows): 0, or -1 with an exception set. */
static int add_block(StringColumn *column, PyObject *given) {
    PyObject *buffer;
    long long offsets_at, data_at, rows;
    struct block *block = &column->blocks[column->n_blocks];
    if (!PyArg_ParseTuple(given, "OLLL", &buffer, &offsets_at, &data_at, &rows)) return -1;
    if (PyObject_GetBuffer(buffer, &block->view, PyBUF_SIMPLE)) return -1;
    column->n_blocks++;
    int64_t size = block->view.len;
    if (rows < 0 || offsets_at < 0 || data_at < 0 || offsets_at > size || data_at > size || rows >= (size - offsets_at) / 4) {
        PyErr_SetString(damaged_error, "a block of strings leaves the data");
        return -1;
    }
    block->first = column->rows, block->rows = rows;
    block->offsets = (const char *)block->view.buf + offsets_at;
    block->data = (const char *)block->view.buf + data_at, block->size = size - data_at;
    column->rows += rows;
    return 0;
}

static PyObject *column_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs)) {
    PyObject *blocks;
    if (!PyArg_ParseTuple(args, "O!", &PyList_Type, &blocks)) return NULL;
    StringColumn *self = (StringColumn *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (!self) return NULL;
    Py_ssize_t n = PyList_Size(blocks);
    self->blocks = calloc((size_t)n + 1, sizeof *self->blocks);
    int failed = !self->blocks;
    if (failed) PyErr_NoMemory();
    for (Py_ssize_t i = 0; i < n && !failed; i++) failed = add_block(self, PyList_GetItem(blocks, i));
    if (!failed) return (PyObject *)self;
    Py_DECREF(self);
    return NULL;
}

static const struct block *block_of(const StringColumn *column, int64_t position) {
    int64_t low = 0, high = column->n_blocks;
    while (high - low > 1) {
        int64_t middle = low + (high - low) / 2;
        if (column->blocks[middle].first <= position) low = middle;
        else high = middle;
    }
    return &column->blocks[low];
}

/* Put the strings at up to AT_ONCE positions into the list from `place` on: 0, or -1 with an exception set. */
static int take_some(const StringColumn *column, const int64_t *positions, int64_t n, PyObject *list, int64_t place) {
    const struct block *blocks[AT_ONCE];
    const char *pointers[AT_ONCE];
    int32_t bounds[AT_ONCE][2];
    for (int64_t i = 0; i < n; i++) {
        if (positions[i] < 0 || positions[i] >= column->rows) {
            PyErr_Format(PyExc_IndexError, "position %lld of %lld", (long long)positions[i], (long long)column->rows);
            return -1;
        }
        blocks[i] = block_of(column, positions[i]);
        pointers[i] = blocks[i]->offsets + 4 * (positions[i] - blocks[i]->first);
        __builtin_prefetch(pointers[i]);
    }
    for (int64_t i = 0; i < n; i++) {
        memcpy(bounds[i], pointers[i], sizeof bounds[i]);
        if (bounds[i][0] < 0 || bounds[i][1] < bounds[i][0] || bounds[i][1] > blocks[i]->size) {
            PyErr_SetString(damaged_error, "a string leaves the data");
            return -1;
        }
        __builtin_prefetch(blocks[i]->data + bounds[i][0]);
    }
    for (int64_t i = 0; i < n; i++) {
        PyObject *text = PyUnicode_DecodeUTF8(blocks[i]->data + bounds[i][0], bounds[i][1] - bounds[i][0], NULL);
        if (!text || PyList_SetItem(list, place + i, text)) return -1;
    }
    return 0;
}

static PyObject *column_take(PyObject *self, PyObject *positions) {
    Py_buffer view;
    if (PyObject_GetBuffer(positions, &view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)) return NULL;
    PyObject *list = NULL;
    if (view.itemsize != 8 || (uintptr_t)view.buf % 8) PyErr_SetString(PyExc_ValueError, "positions: int64 are wanted");
    else list = PyList_New(view.len / 8);
    for (int64_t at = 0, n = view.len / 8; list && at < n; at += AT_ONCE)
        if (take_some((StringColumn *)self, (const int64_t *)view.buf + at, n - at < AT_ONCE ? n - at : AT_ONCE, list, at))
            Py_CLEAR(list);
    PyBuffer_Release(&view);
    return list;
}

static Py_ssize_t column_length(PyObject *self) { return (Py_ssize_t)((StringColumn *)self)->rows; }

PyObject *make_string_column_type(PyObject *damaged) {
    static PyMethodDef methods[] = {{"take", column_take, METH_O, "take(positions)\n\nThe list of str at int64 positions."},
                                    {NULL, NULL, 0, NULL}};
    static PyType_Slot slots[] = {{Py_tp_doc, "Strings of mapped blocks, (buffer, offsets_at, data_at, rows) each."},
                                  {Py_tp_new, column_new},
                                  {Py_tp_dealloc, column_dealloc},
                                  {Py_tp_methods, methods},
                                  {Py_sq_length, column_length},
                                  {0, NULL}};
    static PyType_Spec spec = {"tamis.kernels._native.StringColumn", sizeof(StringColumn), 0, Py_TPFLAGS_DEFAULT, slots};
    damaged_error = damaged;
    return PyType_FromSpec(&spec);
}

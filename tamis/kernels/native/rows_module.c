#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdlib.h>

#include "rows_module.h"

enum { STARTS, DIMS, CODES, N_ARRAYS };

struct shard_views {
    Py_buffer arrays[N_ARRAYS];
};

typedef struct {
    PyObject_HEAD
    struct row_store store;
    struct shard_views *views; /* of every shard */
    Py_buffer term_dims;
} Rows;

static PyObject *damaged_error;
static PyObject *rows_type;

static void rows_dealloc(PyObject *self) {
    Rows *rows = (Rows *)self;
    PyTypeObject *type = Py_TYPE(self);
    for (int64_t i = 0; i < rows->store.n_shards; i++)
        for (int a = 0; a < N_ARRAYS; a++)
            if (rows->views[i].arrays[a].obj) PyBuffer_Release(&rows->views[i].arrays[a]);
    if (rows->term_dims.obj) PyBuffer_Release(&rows->term_dims);
    free(rows->views), free(rows->store.shards);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

/* Borrow a contiguous array: 0, or -1 with an exception set. */
static int borrow_array(PyObject *object, Py_buffer *view) {
    if (!PyObject_GetBuffer(object, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT)) {
        if ((uintptr_t)view->buf % (uintptr_t)view->itemsize == 0) return 0;
        PyBuffer_Release(view);
        PyErr_SetString(PyExc_ValueError, "rows: an array is not aligned");
    }
    view->obj = NULL;
    return -1;
}

/* Append a shard from (starts, dims, codes): 0, or -1 with an exception set. */
static int add_shard(Rows *rows, PyObject *given) {
    struct row_store *store = &rows->store;
    struct row_shard *shard = &store->shards[store->n_shards];
    Py_buffer *views = rows->views[store->n_shards].arrays;
    PyObject *arrays[N_ARRAYS];
    if (!PyArg_ParseTuple(given, "OOO", &arrays[STARTS], &arrays[DIMS], &arrays[CODES])) return -1;
    store->n_shards++;
    for (int a = 0; a < N_ARRAYS; a++)
        if ((a != CODES || arrays[a] != Py_None) && borrow_array(arrays[a], &views[a])) return -1;
    const Py_buffer *starts = &views[STARTS], *dims = &views[DIMS], *codes = &views[CODES];
    shard->rows = starts->len / 8 - 1, shard->first = store->n_docs;
    shard->dim_bits = (int32_t)dims->itemsize * 8, shard->entries = dims->len / dims->itemsize;
    shard->code_bits = codes->obj ? (int32_t)codes->itemsize * 8 : 0;
    int wrong = starts->itemsize != 8 || shard->rows < 0 || (dims->itemsize != 2 && dims->itemsize != 4);
    wrong |= codes->obj && ((codes->itemsize != 1 && codes->itemsize != 2) || codes->len / codes->itemsize != shard->entries);
    if (wrong) {
        PyErr_SetString(damaged_error, "the arrays of a shard's rows do not fit each other");
        return -1;
    }
    shard->starts = starts->buf, shard->dims = dims->buf, shard->codes = codes->obj ? codes->buf : NULL;
    store->n_docs += shard->rows;
    return 0;
}

static PyObject *rows_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs)) {
    PyObject *term_dims, *shards;
    if (!PyArg_ParseTuple(args, "OO!", &term_dims, &PyList_Type, &shards)) return NULL;
    Rows *self = (Rows *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (!self) return NULL;
    Py_ssize_t n = PyList_Size(shards);
    self->store.shards = calloc((size_t)n + 1, sizeof *self->store.shards);
    self->views = calloc((size_t)n + 1, sizeof *self->views);
    int failed = !self->store.shards || !self->views;
    if (failed) PyErr_NoMemory();
    else failed = borrow_array(term_dims, &self->term_dims);
    if (!failed && self->term_dims.itemsize != 4) {
        PyErr_SetString(PyExc_ValueError, "term_dims: uint32 are wanted");
        failed = 1;
    }
    for (Py_ssize_t i = 0; i < n && !failed; i++) failed = add_shard(self, PyList_GetItem(shards, i));
    self->store.term_dims = self->term_dims.buf, self->store.n_terms = self->term_dims.len / 4;
    if (!failed) return (PyObject *)self;
    Py_DECREF(self);
    return NULL;
}

const struct row_store *rows_of(PyObject *object) {
    if (rows_type && PyObject_TypeCheck(object, (PyTypeObject *)rows_type)) return &((Rows *)object)->store;
    PyErr_SetString(PyExc_TypeError, "rows: an object of the type Rows is wanted");
    return NULL;
}

PyObject *make_rows_type(PyObject *damaged) {
    static PyType_Slot slots[] = {{Py_tp_doc, "Documents as rows, from uint32 dimensions of terms and a list of (starts, dims, codes)."},
                                  {Py_tp_new, rows_new},
                                  {Py_tp_dealloc, rows_dealloc},
                                  {0, NULL}};
    static PyType_Spec spec = {"tamis.kernels._native.Rows", sizeof(Rows), 0, Py_TPFLAGS_DEFAULT, slots};
    damaged_error = damaged;
    PyObject *type = PyType_FromSpec(&spec);
    Py_XDECREF(rows_type);
    rows_type = Py_XNewRef(type);
    return type;
}

/* The Python face of late_body.h: two functions, whose arguments are checked here. Callers go through tamis/kernels/late.py. */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <string.h>

#include "late_module.h"

struct engine {
    late_function *scan, *score;
};

static int find_engine(const char *name, struct engine *engine) {
    *engine = (struct engine){0};
    if (!strcmp(name, "baseline")) *engine = (struct engine){late_scan_baseline, late_score_baseline};
#if defined(__x86_64__)
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
    int avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                 __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    int vnni = avx512 && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vpopcntdq");
    if (!strcmp(name, "avx2") && avx2) *engine = (struct engine){late_scan_avx2, late_score_avx2};
    if (!strcmp(name, "avx512") && avx512) *engine = (struct engine){late_scan_avx512, late_score_avx512};
    if (!strcmp(name, "avx512") && vnni) *engine = (struct engine){late_scan_avx512vnni, late_score_avx512vnni};
    if (!strcmp(name, "avx512-2017") && avx512) *engine = (struct engine){late_scan_avx512, late_score_avx512}; /* for tests */
#endif
    if (engine->scan) return 0;
    PyErr_Format(PyExc_ValueError, "this processor cannot run %s", name);
    return -1;
}

enum { OFFSETS, ROWS, IDS, CODES, FIRST, SECOND, THIRD, FOURTH, N_VIEWS };

/* Borrow contiguous, aligned items: their number, or -1 with an exception set. */
static int64_t borrow(PyObject *object, Py_buffer *view, int64_t size, const char *name) {
    if (PyObject_GetBuffer(object, view, PyBUF_C_CONTIGUOUS)) {
        view->obj = NULL;
        return -1;
    }
    if ((uintptr_t)view->buf % (uintptr_t)size == 0 && view->len % size == 0) return view->len / size;
    PyErr_Format(PyExc_ValueError, "%s: not aligned to items of %lld bytes", name, (long long)size);
    return -1;
}

static void release(Py_buffer *views) {
    for (int i = 0; i < N_VIEWS; i++)
        if (views[i].obj) PyBuffer_Release(&views[i]);
}

/* Borrow what both functions read: the number of rows to score, or -1 with an exception set. */
static int64_t borrow_rows(PyObject *const *inputs, Py_buffer *views, struct late *l) {
    if (l->id_bytes != 2 && l->id_bytes != 4) {
        PyErr_SetString(PyExc_ValueError, "ids have two or four bytes");
        return -1;
    }
    int64_t pointers = borrow(inputs[OFFSETS], &views[OFFSETS], 8, "offsets"), n = -1;
    if (pointers >= 0) l->n_tokens = borrow(inputs[IDS], &views[IDS], l->id_bytes, "ids");
    if (pointers >= 0 && l->n_tokens >= 0) n = borrow(inputs[ROWS], &views[ROWS], 8, "rows");
    if (n < 0) return -1;
    l->offsets = views[OFFSETS].buf, l->ids = views[IDS].buf, l->n_rows = pointers - 1;
    const int64_t *rows = views[ROWS].buf;
    int wrong = pointers < 1;
    for (int64_t i = 0; i < n; i++) wrong |= rows[i] < 0 || rows[i] >= l->n_rows;
    if (wrong) PyErr_SetString(PyExc_ValueError, "a row is out of range");
    return wrong ? -1 : n;
}

static PyObject *run(late_function *function, const struct late *l, Py_buffer *views, int64_t n) {
    PyObject *scores = PyBytes_FromStringAndSize(NULL, n * 8);
    if (!scores) return NULL;
    int64_t *out = (int64_t *)(void *)PyBytes_AsString(scores);
    int wrong;
    Py_BEGIN_ALLOW_THREADS
    wrong = function(l, views[ROWS].buf, n, out);
    Py_END_ALLOW_THREADS
    if (!wrong) return scores;
    Py_DECREF(scores);
    PyErr_SetString(PyExc_IndexError, "a token of a centroid that there is not, or a row of such tokens");
    return NULL;
}

PyObject *late_scan(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *inputs[N_VIEWS] = {0}, *scores = NULL;
    Py_buffer views[N_VIEWS] = {{0}};
    struct late l = {0};
    struct engine engine;
    const char *kernel;
    long long width;
    if (!PyArg_ParseTuple(args, "sOLOiOO", &kernel, &inputs[FIRST], &width, &inputs[IDS], &l.id_bytes, &inputs[OFFSETS], &inputs[ROWS]))
        return NULL;
    if (find_engine(kernel, &engine)) return NULL;
    int64_t n = borrow_rows(inputs, views, &l), bytes = n < 0 ? -1 : borrow(inputs[FIRST], &views[FIRST], 1, "table");
    if (bytes >= 0) {
        if (width < LATE_TABLE || width % LATE_TABLE || bytes % width)
            PyErr_SetString(PyExc_ValueError, "the table does not fit its width");
        else {
            l.table = views[FIRST].buf, l.width = width, l.n_centroids = bytes / width;
            scores = run(engine.scan, &l, views, n);
        }
    }
    release(views);
    return scores;
}

PyObject *late_scores(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *inputs[N_VIEWS] = {0}, *scores = NULL;
    Py_buffer views[N_VIEWS] = {{0}};
    struct late l = {0};
    struct engine engine;
    const char *kernel;
    long long lanes;
    if (!PyArg_ParseTuple(args, "sOLOOOOiOOO", &kernel, &inputs[FIRST], &lanes, &inputs[SECOND], &inputs[THIRD], &inputs[FOURTH],
                          &inputs[IDS], &l.id_bytes, &inputs[CODES], &inputs[OFFSETS], &inputs[ROWS]))
        return NULL;
    if (find_engine(kernel, &engine)) return NULL;
    int64_t n = borrow_rows(inputs, views, &l), sizes[4] = {-1, -1, -1, -1}, codes = -1;
    static const int64_t items[] = {4, 2, 2, 8};
    static const char *const names[] = {"pairs", "centroids", "books", "bounds"};
    int good = n >= 0;
    for (int i = 0; i < 4 && good; i++) good = (sizes[i] = borrow(inputs[FIRST + i], &views[FIRST + i], items[i], names[i])) >= 0;
    if (good) good = (codes = borrow(inputs[CODES], &views[CODES], 1, "codes")) >= 0;
    if (good) {
        l.lanes = lanes, l.groups = sizes[3] - 1, l.bounds = views[FOURTH].buf;
        int wrong = lanes < LATE_LANES || lanes % LATE_LANES || l.groups < 1 || sizes[2] != l.groups * LATE_WORDS * LATE_WIDEST;
        if (!wrong) {
            l.dim = l.bounds[l.groups];
            wrong = l.bounds[0] != 0 || l.dim < 1 || l.dim > LATE_WIDEST * l.groups;
            for (int64_t i = 0; i < l.groups; i++)
                wrong |= l.bounds[i + 1] <= l.bounds[i] || l.bounds[i + 1] - l.bounds[i] > LATE_WIDEST;
        }
        if (!wrong) {
            l.n_centroids = sizes[1] / l.dim;
            wrong = sizes[1] % l.dim || sizes[0] != (l.dim + 1) / 2 * lanes || codes != l.n_tokens * (l.groups + 1);
        }
        if (wrong) PyErr_SetString(PyExc_ValueError, "query, words and codes do not fit each other");
        else {
            l.pairs = views[FIRST].buf, l.centroids = views[SECOND].buf, l.books = views[THIRD].buf, l.codes = views[CODES].buf;
            scores = run(engine.score, &l, views, n);
        }
    }
    release(views);
    return scores;
}

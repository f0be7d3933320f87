/* The Python face of dense_body.h: two functions, whose arguments are checked here. Callers go through tamis/kernels/dense.py. */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdlib.h>

#include "dense_module.h"

struct engine {
    dense_scan_function *scan;
    dense_score_function *score;
};

static int find_engine(const char *name, struct engine *engine) {
    *engine = (struct engine){0};
    if (!strcmp(name, "baseline")) *engine = (struct engine){dense_scan_baseline, dense_score_baseline};
#if defined(__x86_64__)
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
    int avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                 __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    int vnni = avx512 && __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vpopcntdq");
    if (!strcmp(name, "avx2") && avx2) *engine = (struct engine){dense_scan_avx2, dense_score_avx2};
    if (!strcmp(name, "avx512") && avx512) *engine = (struct engine){dense_scan_avx512, dense_score_avx512};
    if (!strcmp(name, "avx512") && vnni) *engine = (struct engine){dense_scan_avx512vnni, dense_score_avx512vnni};
    if (!strcmp(name, "avx512-2017") && avx512) *engine = (struct engine){dense_scan_avx512, dense_score_avx512}; /* for tests */
#endif
    if (engine->scan) return 0;
    PyErr_Format(PyExc_ValueError, "this processor cannot run %s", name);
    return -1;
}

enum { DATA, FACTORS, QUERY, MASK, ROWS, N_VIEWS };

/* Borrow contiguous bytes, aligned to `alignment`: their number, or -1 with an exception set. */
static int64_t borrow(PyObject *object, Py_buffer *view, int64_t alignment, const char *name) {
    if (PyObject_GetBuffer(object, view, PyBUF_C_CONTIGUOUS)) {
        view->obj = NULL;
        return -1;
    }
    if ((uintptr_t)view->buf % (uintptr_t)alignment == 0 && view->len % alignment == 0) return view->len;
    PyErr_Format(PyExc_ValueError, "%s: not aligned to items of %lld bytes", name, (long long)alignment);
    return -1;
}

static void release(Py_buffer *views) {
    for (int i = 0; i < N_VIEWS; i++)
        if (views[i].obj) PyBuffer_Release(&views[i]);
}

/* Borrow data, factors and query, and fill *d; *padded is to be freed. 0, or -1 with an exception set. */
static int borrow_dense(PyObject *const *inputs, int kind, int64_t dim, Py_buffer *views, struct dense *d, float **padded) {
    static const int64_t items[] = {4, 2, 2, 1, 8};
    if (kind < 0 || kind >= N_DENSE_KINDS || dim < 1 || dim > MAX_DIMENSIONS) {
        PyErr_SetString(PyExc_ValueError, "no such kind of rows, or dimensions outside 1 … 65,536");
        return -1;
    }
    d->kind = (enum dense_kind)kind, d->dim = dim;
    d->row_bytes = kind == DENSE_BIT ? (dim + 63) / 64 * 8 : dim * items[kind];
    int64_t bytes = borrow(inputs[DATA], &views[DATA], items[kind], "rows"), query, wrong = 0;
    if (bytes < 0 || (query = borrow(inputs[QUERY], &views[QUERY], kind <= DENSE_BFLOAT16 ? 4 : items[kind], "query")) < 0) return -1;
    d->data = views[DATA].buf, d->n = bytes / d->row_bytes;
    wrong |= bytes % d->row_bytes || d->n > UINT32_MAX;
    if (kind <= DENSE_BFLOAT16) {
        wrong |= query != dim * 4;
        if (!wrong) {
            if (!(*padded = calloc((size_t)(dim + DENSE_LANES), 4))) {
                PyErr_NoMemory();
                return -1;
            }
            memcpy(*padded, views[QUERY].buf, (size_t)query);
            d->query = *padded;
        }
    } else {
        int64_t factors = borrow(inputs[FACTORS], &views[FACTORS], 4, "factors");
        if (factors < 0) return -1;
        d->factors = views[FACTORS].buf;
        wrong |= factors != d->n * 4;
        if (kind == DENSE_INT8) {
            d->codes = views[QUERY].buf;
            wrong |= query != dim;
        } else {
            d->planes = views[QUERY].buf, d->n_planes = (int32_t)(query / d->row_bytes);
            wrong |= query % d->row_bytes || d->n_planes < 1 || d->n_planes > MAX_PLANES;
        }
    }
    if (inputs[MASK] != Py_None) {
        int64_t mask = borrow(inputs[MASK], &views[MASK], 1, "mask");
        if (mask < 0) return -1;
        d->mask = views[MASK].buf;
        wrong |= mask != (d->n + 7) / 8;
    }
    if (wrong) PyErr_SetString(PyExc_ValueError, "rows, factors, query and mask do not fit each other");
    return wrong ? -1 : 0;
}

PyObject *dense_scan(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *inputs[N_VIEWS] = {0}, *packed = NULL;
    Py_buffer views[N_VIEWS] = {{0}};
    struct dense d = {0};
    struct engine engine;
    const char *kernel;
    int kind;
    long long dim, first, last, k, bad = -1;
    float *padded = NULL;
    struct topk best = {0};
    if (!PyArg_ParseTuple(args, "siLOOOffiOLLL", &kernel, &kind, &dim, &inputs[DATA], &inputs[FACTORS], &inputs[QUERY], &d.scale,
                          &d.base, &d.correction, &inputs[MASK], &first, &last, &k))
        return NULL;
    if (find_engine(kernel, &engine)) return NULL;
    if (borrow_dense(inputs, kind, dim, views, &d, &padded)) goto end;
    if (first < 0 || last < first || last > d.n || first % 8 || k < 1) {
        PyErr_SetString(PyExc_ValueError, "the range of rows or k is out of range");
        goto end;
    }
    best.k = k < last - first ? k : last - first;
    if (!best.k) best.k = 1;
    best.limit = best.k * 2 > best.k + 1024 ? best.k * 2 : best.k + 1024;
    best.capacity = best.limit + DENSE_BLOCK;
    best.threshold = -INFINITY;
    if (!(best.keys = malloc((size_t)best.capacity * 8))) {
        PyErr_NoMemory();
        goto end;
    }
    Py_BEGIN_ALLOW_THREADS
    bad = engine.scan(&d, first, last, &best);
    if (bad < 0) {
        topk_cut(&best);
        sort_keys(best.keys, best.size);
    }
    Py_END_ALLOW_THREADS
    if (bad >= 0) best.size = 0;
    PyObject *rows = PyBytes_FromStringAndSize(NULL, best.size * 8), *scores = PyBytes_FromStringAndSize(NULL, best.size * 4);
    if (rows && scores) {
        char *row = PyBytes_AsString(rows), *score = PyBytes_AsString(scores);
        for (int64_t i = 0; i < best.size; i++) {
            int64_t number = (uint32_t)best.keys[i];
            float value = key_score(best.keys[i]);
            memcpy(row + i * 8, &number, 8);
            memcpy(score + i * 4, &value, 4);
        }
        packed = Py_BuildValue("OOL", rows, scores, bad);
    }
    Py_XDECREF(rows);
    Py_XDECREF(scores);
end:
    free(best.keys);
    free(padded);
    release(views);
    return packed;
}

PyObject *dense_scores(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *inputs[N_VIEWS] = {0}, *scores = NULL;
    Py_buffer views[N_VIEWS] = {{0}};
    struct dense d = {0};
    struct engine engine;
    const char *kernel;
    int kind;
    long long dim;
    float *padded = NULL;
    inputs[MASK] = Py_None;
    if (!PyArg_ParseTuple(args, "siLOOOffiO", &kernel, &kind, &dim, &inputs[DATA], &inputs[FACTORS], &inputs[QUERY], &d.scale, &d.base,
                          &d.correction, &inputs[ROWS]))
        return NULL;
    if (find_engine(kernel, &engine)) return NULL;
    if (!borrow_dense(inputs, kind, dim, views, &d, &padded)) {
        int64_t n = borrow(inputs[ROWS], &views[ROWS], 8, "numbers of rows") / 8, wrong = 0;
        const int64_t *rows = views[ROWS].buf;
        if (!PyErr_Occurred()) {
            for (int64_t i = 0; i < n; i++) wrong |= rows[i] < 0 || rows[i] >= d.n;
            if (wrong) PyErr_SetString(PyExc_ValueError, "a row is out of range");
            else scores = PyBytes_FromStringAndSize(NULL, n * 4);
        }
        if (scores) {
            float *out = (float *)(void *)PyBytes_AsString(scores);
            Py_BEGIN_ALLOW_THREADS
            engine.score(&d, rows, n, out);
            Py_END_ALLOW_THREADS
        }
    }
    free(padded);
    release(views);
    return scores;
}

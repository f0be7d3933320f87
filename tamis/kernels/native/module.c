/* The Python face of the kernel: one type, Index, over arrays that are checked term by term before they are used, and functions
   that build such arrays and look terms up. Callers go through tamis/kernels/search.py and building.py, which explain the arguments;
   wrong ones raise ValueError here and never more than that. */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <stdlib.h>

#include "batch.h"
#include "build.h"
#include "dense_module.h"
#include "late_module.h"
#include "rows_module.h"
#include "strings_module.h"

/* ---- arrays -------------------------------------------------------------------------------------------------------- */

/* Borrow a contiguous array of `size`-byte items: the number of items, or -1 with an exception set. */
static Py_ssize_t borrow(PyObject *object, Py_buffer *view, Py_ssize_t size, int writable, const char *name) {
    if (PyObject_GetBuffer(object, view, PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0))) {
        view->obj = NULL;
        return -1;
    }
    if (view->itemsize == size && (uintptr_t)view->buf % (uintptr_t)size == 0) return view->len / size;
    PyErr_Format(PyExc_ValueError, "%s: items of %zd bytes are wanted, not of %zd (or they are not aligned)", name, size,
                 view->itemsize);
    PyBuffer_Release(view);
    view->obj = NULL;
    return -1;
}

static void release(Py_buffer *views, int n) {
    for (int i = 0; i < n; i++)
        if (views[i].obj) PyBuffer_Release(&views[i]);
}

enum { STARTS, DIRECTORY_STARTS, DIRECTORY, OFFSETS, CODES, N_ARRAYS };

/* Borrow the arrays of some postings, without looking into them: 0, or -1 with an exception set. */
static int borrow_postings(PyObject *const *arrays, int64_t n_docs, int64_t n_codes, int writable, Py_buffer *views,
                           struct postings *p) {
    *p = (struct postings){.n_docs = n_docs, .n_windows = (n_docs + WINDOW_SIZE - 1) >> WINDOW_BITS};
    if (n_docs < 0 || n_docs > (int64_t)1 << 48) {
        PyErr_Format(PyExc_ValueError, "number of documents %lld is not in 0 … 2^48", (long long)n_docs);
        return -1;
    }
    int64_t pointers = borrow(arrays[STARTS], &views[STARTS], 8, 0, "starts"), directory_pointers = -1;
    if (pointers >= 0) directory_pointers = borrow(arrays[DIRECTORY_STARTS], &views[DIRECTORY_STARTS], 8, 0, "directory_starts");
    if (directory_pointers < 0) return -1;
    if ((p->directory_words = borrow(arrays[DIRECTORY], &views[DIRECTORY], 2, writable, "directory")) < 0) return -1;
    if ((p->n_postings = borrow(arrays[OFFSETS], &views[OFFSETS], 2, writable, "offsets")) < 0) return -1;
    if (pointers < 1 || pointers != directory_pointers) {
        PyErr_SetString(PyExc_ValueError, "the two pointer arrays must have one entry a term and one more");
        return -1;
    }
    p->n_terms = pointers - 1;
    if (arrays[CODES] != Py_None) {
        if (PyObject_GetBuffer(arrays[CODES], &views[CODES], PyBUF_C_CONTIGUOUS | PyBUF_FORMAT | (writable ? PyBUF_WRITABLE : 0))) {
            views[CODES].obj = NULL;
            return -1;
        }
        p->code_bits = (int32_t)views[CODES].itemsize * 8;
        if ((p->code_bits != 8 && p->code_bits != 16) || views[CODES].len != p->n_postings * views[CODES].itemsize ||
            (uintptr_t)views[CODES].buf % (uintptr_t)views[CODES].itemsize) {
            PyErr_SetString(PyExc_ValueError, "codes must be 8 or 16 bits wide, one a posting");
            return -1;
        }
    }
    if (p->code_bits ? n_codes < 1 || n_codes > (int64_t)1 << p->code_bits : n_codes != 0) {
        PyErr_Format(PyExc_ValueError, "%lld codes do not fit %d bits", (long long)n_codes, p->code_bits);
        return -1;
    }
    p->n_codes = (int32_t)n_codes;
    p->starts = views[STARTS].buf, p->directory_starts = views[DIRECTORY_STARTS].buf, p->directory = views[DIRECTORY].buf;
    p->offsets = views[OFFSETS].buf, p->codes = p->code_bits ? views[CODES].buf : NULL;
    return 0;
}

/* ---- Index --------------------------------------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    struct postings postings;
    Py_buffer views[N_ARRAYS];
    struct workspace *pool; /* touched with the GIL held only */
} Index;

static PyObject *damaged; /* ValueError: the arrays break their layout */

/* Check the terms that were not checked before, which have no length: NULL, or what is wrong with *term. Threads may check one twice: no harm. */
static const char *check_terms(Index *index, const int64_t *terms, int64_t first, int64_t n, int64_t *term) {
    for (int64_t i = 0; i < n; i++) {
        *term = terms ? terms[i] : first + i;
        if (__atomic_load_n(&index->postings.lengths[*term], __ATOMIC_RELAXED)) continue;
        const char *wrong = check_term(&index->postings, *term);
        if (wrong) return wrong;
    }
    return NULL;
}

static PyObject *raise_damaged(const char *wrong, int64_t term) {
    return PyErr_Format(damaged, "term %lld: %s", (long long)term, wrong);
}

static void index_dealloc(PyObject *self) {
    Index *index = (Index *)self;
    PyTypeObject *type = Py_TYPE(self);
    free_workspaces(index->pool);
    free(index->postings.lengths);
    release(index->views, N_ARRAYS);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyObject *index_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    long long n_docs, n_codes;
    PyObject *arrays[N_ARRAYS];
    if (kwargs && PyDict_Size(kwargs)) return PyErr_Format(PyExc_TypeError, "Index takes positional arguments only");
    if (!PyArg_ParseTuple(args, "LLOOOOO", &n_docs, &n_codes, &arrays[0], &arrays[1], &arrays[2], &arrays[3], &arrays[4]))
        return NULL;
    Index *self = (Index *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
    if (!self) return NULL;
    if (borrow_postings(arrays, n_docs, n_codes, 0, self->views, &self->postings)) {
        Py_DECREF(self);
        return NULL;
    }
    const char *wrong = check_ends(&self->postings);
    if (!wrong && (self->postings.lengths = calloc((size_t)self->postings.n_terms + 1, sizeof(int32_t)))) return (PyObject *)self;
    if (wrong) PyErr_SetString(damaged, wrong);
    else PyErr_NoMemory();
    Py_DECREF(self);
    return NULL;
}

struct kernel {
    search_function *search;
    score_function *score;
};

/* No functions where this processor cannot run it. */
static struct kernel find_kernel(const char *name) {
    if (!strcmp(name, "baseline")) return (struct kernel){search_baseline, score_baseline};
#if defined(__x86_64__)
    if (!strcmp(name, "avx2") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2"))
        return (struct kernel){search_avx2, score_avx2};
    if (!strcmp(name, "avx512") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return (struct kernel){search_avx512, score_avx512};
#endif
    return (struct kernel){0};
}

enum { QUERY_OFFSETS, TERMS, WEIGHTS, ROWS, TABLES, GROUPS, MASK, N_INPUTS };

/* Borrow and check a batch's arrays: 0, or -1 with an exception set. */
static int borrow_batch(PyObject *const *inputs, Py_buffer *views, struct batch *b) {
    const struct postings *p = b->postings;
    int64_t n_terms, rows = 0;
    if ((b->n_queries = borrow(inputs[QUERY_OFFSETS], &views[QUERY_OFFSETS], 8, 0, "offsets") - 1) == -2) return -1;
    if ((n_terms = borrow(inputs[TERMS], &views[TERMS], 8, 0, "terms")) < 0) return -1;
    b->offsets = views[QUERY_OFFSETS].buf, b->terms = views[TERMS].buf;
    int wrong = b->n_queries < 0 || b->offsets[0] != 0 || b->offsets[b->n_queries] != n_terms;
    for (int64_t i = 0; i < b->n_queries && !wrong; i++) wrong |= b->offsets[i + 1] < b->offsets[i] || b->offsets[i + 1] - b->offsets[i] > INT32_MAX / 2;
    for (int64_t i = 0; i < n_terms && !wrong; i++) wrong |= b->terms[i] < 0 || b->terms[i] >= p->n_terms;
    if (inputs[WEIGHTS] != Py_None) {
        int64_t n = borrow(inputs[WEIGHTS], &views[WEIGHTS], 4, 0, "weights");
        if (n < 0) return -1;
        wrong |= n != n_terms;
        b->weights = views[WEIGHTS].buf;
    }
    if (inputs[TABLES] != Py_None) {
        int64_t n = borrow(inputs[TABLES], &views[TABLES], 4, 0, "tables");
        if (n < 0) return -1;
        wrong |= !p->n_codes || n % p->n_codes;
        rows = p->n_codes ? n / p->n_codes : 0;
        b->tables = views[TABLES].buf;
    }
    if (inputs[ROWS] != Py_None) {
        int64_t n = borrow(inputs[ROWS], &views[ROWS], 4, 0, "rows");
        if (n < 0) return -1;
        b->rows = views[ROWS].buf;
        wrong |= n != n_terms || !b->tables;
        for (int64_t i = 0; i < n && !wrong; i++) wrong |= b->rows[i] < 0 || b->rows[i] >= rows;
    } else {
        wrong |= b->tables && rows != n_terms;
    }
    wrong |= (n_terms && (p->code_bits != 0) != (b->tables != NULL)) || b->k < 1 || b->threads < 1;
    if (inputs[GROUPS] != Py_None) {
        int64_t n = borrow(inputs[GROUPS], &views[GROUPS], 4, 0, "groups");
        if (n < 0) return -1;
        b->groups = views[GROUPS].buf;
        wrong |= n != n_terms || !b->once;
    }
    if (inputs[MASK] != Py_None) {
        int64_t n = borrow(inputs[MASK], &views[MASK], 1, 0, "mask");
        if (n < 0) return -1;
        wrong |= n != (p->n_docs + 7) / 8;
        b->mask = views[MASK].buf;
    }
    b->count_only = !b->tables && !b->weights;
    if (wrong) PyErr_SetString(PyExc_ValueError, "the queries' arrays do not fit each other or the postings");
    return wrong ? -1 : 0;
}

/* (offsets int64, docs int64, scores float32, partial uint8), each as bytes. */
static PyObject *pack_matches(const struct matches *results, int64_t n) {
    int64_t total = 0;
    for (int64_t i = 0; i < n; i++) total += results[i].size;
    PyObject *offsets = PyBytes_FromStringAndSize(NULL, (n + 1) * 8), *docs = PyBytes_FromStringAndSize(NULL, total * 8);
    PyObject *scores = PyBytes_FromStringAndSize(NULL, total * 4), *partial = PyBytes_FromStringAndSize(NULL, n), *packed = NULL;
    if (offsets && docs && scores && partial && (packed = PyTuple_New(4))) {
        char *offset = PyBytes_AsString(offsets), *doc = PyBytes_AsString(docs), *score = PyBytes_AsString(scores);
        char *flag = PyBytes_AsString(partial);
        total = 0;
        memcpy(offset, &total, 8);
        for (int64_t i = 0; i < n; i++) {
            if (results[i].size) {
                memcpy(doc + total * 8, results[i].docs, (size_t)results[i].size * 8);
                memcpy(score + total * 4, results[i].scores, (size_t)results[i].size * 4);
            }
            total += results[i].size;
            memcpy(offset + (i + 1) * 8, &total, 8);
            flag[i] = (char)results[i].partial;
        }
        PyTuple_SetItem(packed, 0, offsets), PyTuple_SetItem(packed, 1, docs);
        PyTuple_SetItem(packed, 2, scores), PyTuple_SetItem(packed, 3, partial);
        return packed;
    }
    Py_XDECREF(offsets), Py_XDECREF(docs), Py_XDECREF(scores), Py_XDECREF(partial);
    return NULL;
}

/* Check the terms and run the batch without the GIL: 0, or -1 with an exception set. */
static int run_batch(Index *index, struct batch *b) {
    struct workspace *pool = index->pool;
    index->pool = NULL; /* another thread that searches meanwhile makes its own */
    const char *wrong;
    int64_t term = 0;
    int failed;
    Py_BEGIN_ALLOW_THREADS
    wrong = check_terms(index, b->terms, 0, b->offsets[b->n_queries], &term);
    failed = wrong || search_batch(b, &pool);
    Py_END_ALLOW_THREADS
    while (pool) {
        struct workspace *next = pool->next;
        pool->next = index->pool, index->pool = pool;
        pool = next;
    }
    if (wrong) raise_damaged(wrong, term);
    else if (b->damaged) PyErr_SetString(damaged, "a row leaves the data or the codes");
    else if (failed) PyErr_NoMemory();
    return failed ? -1 : 0;
}

PyDoc_STRVAR(search_doc, "search(kernel, offsets, terms, weights, rows, tables, groups, mask, rounding, k, threads, nanoseconds)\n\n"
                         "Top-k of every query, as the bytes of (offsets, docs, scores, partial). rounding: 0 each addition, 1 once, 2 units;\n"
                         "nanoseconds: the time left, or -1.");

static PyObject *index_search(PyObject *self, PyObject *args) {
    Index *index = (Index *)self;
    PyObject *inputs[N_INPUTS], *packed = NULL;
    Py_buffer views[N_INPUTS] = {{0}};
    struct batch b = {.postings = &index->postings};
    long long k, nanoseconds;
    int rounding;
    const char *kernel;
    if (!PyArg_ParseTuple(args, "sOOOOOOOiLiL", &kernel, &inputs[0], &inputs[1], &inputs[2], &inputs[3], &inputs[4], &inputs[5],
                          &inputs[6], &rounding, &k, &b.threads, &nanoseconds))
        return NULL;
    b.k = k;
    b.once = rounding == 1, b.units = rounding == 2;
    b.deadline = nanoseconds < 0 ? INT64_MAX : monotonic_nanoseconds() + nanoseconds;
    if (!(b.search = find_kernel(kernel).search)) return PyErr_Format(PyExc_ValueError, "this processor cannot run %s", kernel);
    if (!borrow_batch(inputs, views, &b)) {
        b.results = PyMem_Calloc((size_t)b.n_queries + 1, sizeof *b.results);
        if (!b.results) {
            PyErr_NoMemory();
        } else if (!run_batch(index, &b)) {
            packed = pack_matches(b.results, b.n_queries);
            free_matches(b.results, b.n_queries);
        }
        PyMem_Free(b.results);
    }
    release(views, N_INPUTS);
    return packed;
}

PyDoc_STRVAR(score_doc, "score(kernel, offsets, terms, weights, rows, tables, groups, once, threads, doc_offsets, docs, scores, stored)\n\n"
                        "The scores of given documents, ascending within a query, into a float32 array: by their rows, or by postings (None).");

static PyObject *index_score(PyObject *self, PyObject *args) {
    Index *index = (Index *)self;
    enum { DOC_OFFSETS, DOCS, SCORES, N_GIVEN };
    PyObject *inputs[N_INPUTS], *given[N_GIVEN], *stored, *answer = NULL;
    Py_buffer views[N_INPUTS] = {{0}}, places[N_GIVEN] = {{0}};
    struct batch b = {.postings = &index->postings, .k = 1, .deadline = INT64_MAX};
    const char *kernel;
    inputs[MASK] = Py_None;
    if (!PyArg_ParseTuple(args, "sOOOOOOpiOOOO", &kernel, &inputs[0], &inputs[1], &inputs[2], &inputs[3], &inputs[4], &inputs[5],
                          &b.once, &b.threads, &given[0], &given[1], &given[2], &stored))
        return NULL;
    if (stored != Py_None) {
        const struct postings *p = &index->postings;
        if (!(b.rows_store = rows_of(stored))) return NULL;
        int fit = b.rows_store->n_docs == p->n_docs && b.rows_store->n_terms == p->n_terms;
        for (int64_t i = 0; i < b.rows_store->n_shards && fit; i++) fit = !b.rows_store->shards[i].code_bits == !p->code_bits;
        if (!fit) return PyErr_Format(damaged, "rows of %lld documents and %lld terms are not those of the postings",
                                      (long long)b.rows_store->n_docs, (long long)b.rows_store->n_terms);
    }
    if (!(b.score = find_kernel(kernel).score)) return PyErr_Format(PyExc_ValueError, "this processor cannot run %s", kernel);
    if (!borrow_batch(inputs, views, &b)) {
        int64_t ends = borrow(given[DOC_OFFSETS], &places[DOC_OFFSETS], 8, 0, "doc_offsets"), n = -1, room = -1;
        if (ends >= 0) n = borrow(given[DOCS], &places[DOCS], 8, 0, "docs");
        if (n >= 0) room = borrow(given[SCORES], &places[SCORES], 4, 1, "scores");
        if (room >= 0) {
            b.doc_offsets = places[DOC_OFFSETS].buf, b.docs = places[DOCS].buf, b.scores = places[SCORES].buf;
            int wrong = room != n || ends != b.n_queries + 1 || b.doc_offsets[0] != 0 || b.doc_offsets[b.n_queries] != n;
            for (int64_t i = 0; i < b.n_queries && !wrong; i++) {
                wrong |= b.doc_offsets[i + 1] < b.doc_offsets[i] || b.doc_offsets[i + 1] > n;
                for (int64_t at = b.doc_offsets[i]; !wrong && at < b.doc_offsets[i + 1]; at++)
                    wrong |= b.docs[at] < 0 || b.docs[at] >= index->postings.n_docs ||
                             (at > b.doc_offsets[i] && b.docs[at] <= b.docs[at - 1]);
            }
            if (wrong) PyErr_SetString(PyExc_ValueError, "the documents do not ascend, or do not fit the queries or the postings");
            else if (!run_batch(index, &b)) answer = Py_NewRef(Py_None);
        }
    }
    release(views, N_INPUTS), release(places, N_GIVEN);
    return answer;
}

PyDoc_STRVAR(documents_doc, "documents(first, last, out)\n\nThe documents of terms first to last - 1, into an int64 array.");

static PyObject *index_documents(PyObject *self, PyObject *args) {
    const struct postings *p = &((Index *)self)->postings;
    long long first, last;
    PyObject *out;
    Py_buffer view = {0};
    if (!PyArg_ParseTuple(args, "LLO", &first, &last, &out)) return NULL;
    int64_t n = borrow(out, &view, 8, 1, "out");
    if (n < 0) return NULL;
    int wrong = first < 0 || last < first || last > p->n_terms || n != p->starts[last] - p->starts[first];
    const char *damage = NULL;
    int64_t term = 0;
    if (!wrong) {
        Py_BEGIN_ALLOW_THREADS
        damage = check_terms((Index *)self, NULL, first, last - first, &term);
        if (!damage) list_documents(p, first, last, view.buf);
        Py_END_ALLOW_THREADS
    }
    release(&view, 1);
    if (damage) return raise_damaged(damage, term);
    if (wrong) return PyErr_Format(PyExc_ValueError, "terms %lld to %lld do not fit the postings or the array", first, last);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(check_doc, "check()\n\nCheck all terms.");

static PyObject *index_check(PyObject *self, PyObject *Py_UNUSED(args)) {
    const char *wrong;
    int64_t term = 0;
    Py_BEGIN_ALLOW_THREADS
    wrong = check_terms((Index *)self, NULL, 0, ((Index *)self)->postings.n_terms, &term);
    Py_END_ALLOW_THREADS
    if (wrong) return raise_damaged(wrong, term);
    Py_RETURN_NONE;
}

/* ---- fill ---------------------------------------------------------------------------------------------------------- */

PyDoc_STRVAR(fill_doc, "fill(terms, docs, triple_codes, n_docs, n_codes, starts, directory_starts, directory, offsets, codes)\n\n"
                       "Scatter triples into postings whose pointers are filled and whose directory is zero.");

static PyObject *fill(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *arrays[N_ARRAYS], *terms, *docs, *codes;
    Py_buffer views[N_ARRAYS] = {{0}}, inputs[3] = {{0}};
    struct postings p;
    struct triples t = {0};
    long long n_docs, n_codes;
    const char *wrong = NULL;
    int64_t at = -1;
    if (!PyArg_ParseTuple(args, "OOOLLOOOOO", &terms, &docs, &codes, &n_docs, &n_codes, &arrays[0], &arrays[1], &arrays[2],
                          &arrays[3], &arrays[4]))
        return NULL;
    if (borrow_postings(arrays, n_docs, n_codes, 1, views, &p)) goto end;
    if (PyObject_GetBuffer(terms, &inputs[0], PyBUF_C_CONTIGUOUS) || PyObject_GetBuffer(docs, &inputs[1], PyBUF_C_CONTIGUOUS)) goto end;
    if (codes != Py_None && PyObject_GetBuffer(codes, &inputs[2], PyBUF_C_CONTIGUOUS)) goto end;
    t = (struct triples){.n = p.n_postings, .terms = inputs[0].buf, .docs = inputs[1].buf, .codes = inputs[2].buf,
                         .wide_terms = inputs[0].itemsize == 8, .wide_docs = inputs[1].itemsize == 8};
    if (inputs[0].len != t.n * (t.wide_terms ? 8 : 4) || inputs[1].len != t.n * (t.wide_docs ? 8 : 4) ||
        inputs[2].len != t.n * p.code_bits / 8) {
        wrong = "terms, docs and codes must have one entry a posting, of 32 or 64 bits and of the codes' width";
    } else {
        /* The pointers, without the contents: writing behind them must stay inside too. */
        for (int64_t i = 0; i < p.n_terms && !wrong; i++)
            if (p.starts[i] < 0 || p.starts[i + 1] < p.starts[i] || p.starts[i + 1] > p.n_postings || p.directory_starts[i] < 0 ||
                p.directory_starts[i] + directory_length(&p, p.starts[i + 1] - p.starts[i]) > p.directory_words)
                wrong = "the pointers do not fit the arrays";
        if (!wrong) {
            Py_BEGIN_ALLOW_THREADS
            wrong = fill_postings(&p, &t, &at);
            Py_END_ALLOW_THREADS
        }
    }
    if (wrong && at < 0) PyErr_SetString(PyExc_ValueError, wrong);
    else if (wrong) PyErr_Format(PyExc_ValueError, "posting %lld: %s", (long long)at, wrong);
end:
    release(views, N_ARRAYS);
    release(inputs, 3);
    if (PyErr_Occurred()) return NULL;
    Py_RETURN_NONE;
}

/* ---- vocabulary ---------------------------------------------------------------------------------------------------- */

PyDoc_STRVAR(find_terms_doc, "find_terms(text, starts, terms)\n\n"
                             "The number of each bytes object of a list in a sorted vocabulary, or -1, as the bytes of int64.");

/* The place of a term, -1 if it is not there, -2 if a pointer leaves the text. */
static int64_t find_term(const char *text, int64_t length, const int64_t *starts, int64_t n, const char *term, int64_t size) {
    int64_t low = 0, high = n;
    while (low < high) {
        int64_t middle = low + (high - low) / 2, first = starts[middle], last = starts[middle + 1];
        if (first < 0 || last < first || last > length) return -2;
        int64_t common = last - first < size ? last - first : size;
        int order = memcmp(text + first, term, (size_t)common);
        if (!order && last - first == size) return middle;
        if (order < 0 || (!order && last - first < size)) low = middle + 1;
        else high = middle;
    }
    return -1;
}

static PyObject *find_terms(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *text, *starts, *terms, *found = NULL;
    Py_buffer views[2] = {{0}};
    if (!PyArg_ParseTuple(args, "OOO!", &text, &starts, &PyList_Type, &terms)) return NULL;
    int64_t length = borrow(text, &views[0], 1, 0, "text"), pointers = -1;
    if (length >= 0) pointers = borrow(starts, &views[1], 8, 0, "starts");
    if (pointers == 0) PyErr_SetString(PyExc_ValueError, "there are no pointers");
    Py_ssize_t n = PyList_Size(terms);
    if (pointers > 0) found = PyBytes_FromStringAndSize(NULL, n * 8);
    for (Py_ssize_t i = 0; found && i < n; i++) {
        char *term;
        Py_ssize_t size;
        if (PyBytes_AsStringAndSize(PyList_GetItem(terms, i), &term, &size)) {
            Py_CLEAR(found);
            break;
        }
        int64_t place = find_term(views[0].buf, length, views[1].buf, pointers - 1, term, size);
        if (place == -2) {
            PyErr_SetString(PyExc_ValueError, "a term's pointers leave the text");
            Py_CLEAR(found);
            break;
        }
        memcpy(PyBytes_AsString(found) + i * 8, &place, 8);
    }
    release(views, 2);
    return found;
}

PyDoc_STRVAR(kernels_doc, "kernels()\n\nThe instruction sets that this processor can run, the fastest first.");

static PyObject *kernels(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(args)) {
    static const char *const names[] = {"avx512", "avx2", "baseline"};
    PyObject *list = PyList_New(0);
    for (int i = 0; list && i < 3; i++) {
        if (!find_kernel(names[i]).search) continue;
        PyObject *name = PyUnicode_FromString(names[i]);
        if (!name || PyList_Append(list, name)) Py_CLEAR(list);
        Py_XDECREF(name);
    }
    return list;
}

static PyMethodDef index_methods[] = {{"search", index_search, METH_VARARGS, search_doc},
                                      {"score", index_score, METH_VARARGS, score_doc},
                                      {"documents", index_documents, METH_VARARGS, documents_doc},
                                      {"check", index_check, METH_NOARGS, check_doc},
                                      {NULL, NULL, 0, NULL}};
static PyType_Slot index_slots[] = {{Py_tp_doc, "Postings, checked as they are searched."},
                                    {Py_tp_new, index_new},
                                    {Py_tp_dealloc, index_dealloc},
                                    {Py_tp_methods, index_methods},
                                    {0, NULL}};
static PyType_Spec index_spec = {"tamis.kernels._native.Index", sizeof(Index), 0, Py_TPFLAGS_DEFAULT, index_slots};

static PyMethodDef functions[] = {{"fill", fill, METH_VARARGS, fill_doc},
                                  {"find_terms", find_terms, METH_VARARGS, find_terms_doc},
                                  {"kernels", kernels, METH_NOARGS, kernels_doc},
                                  DENSE_METHODS,
                                  LATE_METHODS,
                                  {NULL, NULL, 0, NULL}};

static int exec_module(PyObject *module) {
    PyObject *type = PyType_FromSpec(&index_spec);
    int failed = !type || PyModule_AddObjectRef(module, "Index", type);
    Py_XDECREF(type);
    if (!damaged) damaged = PyErr_NewException("tamis.kernels._native.DamagedError", PyExc_ValueError, NULL);
    failed |= !damaged || PyModule_AddObjectRef(module, "DamagedError", damaged);
    PyObject *strings = damaged ? make_string_column_type(damaged) : NULL;
    failed |= !strings || PyModule_AddObjectRef(module, "StringColumn", strings);
    Py_XDECREF(strings);
    PyObject *rows = damaged ? make_rows_type(damaged) : NULL;
    failed |= !rows || PyModule_AddObjectRef(module, "Rows", rows);
    Py_XDECREF(rows);
    return failed ? -1 : 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, exec_module}, {0, NULL}};
static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "_native", "The compiled sparse kernel.", 0, functions, slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__native(void);
PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&definition); }

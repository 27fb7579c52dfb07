#include <Python.h>

int PQlibVersion(void);

static PyObject *version(PyObject *self, PyObject *args) {
  return PyLong_FromLong(PQlibVersion());
}

static PyMethodDef methods[] = {{"version", version, METH_NOARGS, NULL}, {NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_greeter", NULL, -1, methods};

PyMODINIT_FUNC PyInit__greeter(void) { return PyModule_Create(&module); }

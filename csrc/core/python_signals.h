// Python's handlers of signals, called from the midst of an operator.
#pragma once

// Of Python's stable ABI; null in a process without Python. Declared here, so that the extensions
// are made without Python's headers.
extern "C" {
struct _object;
using PyObject = _object;
[[gnu::weak]] int PyGILState_Ensure();
[[gnu::weak]] void PyGILState_Release(int);
[[gnu::weak]] int PyErr_CheckSignals();
[[gnu::weak]] void PyErr_SetInterrupt();
[[gnu::weak]] void PyErr_Fetch(PyObject**, PyObject**, PyObject**);
[[gnu::weak]] void PyErr_Restore(PyObject*, PyObject*, PyObject*);
[[gnu::weak]] int Py_AddPendingCall(int (*)(void*), void*);
}

namespace gtnet {

// An exception on its way: Python raises it as soon as the operator is back.
struct PythonException {
  PyObject *type = nullptr, *value = nullptr, *traceback = nullptr;

  static int raise(void* given) {
    auto* const exception = static_cast<PythonException*>(given);
    PyErr_Restore(exception->type, exception->value, exception->traceback);
    delete exception;
    return -1;
  }
};

// Runs the handlers of signals that have arrived; whether one has raised an exception, as that of
// Ctrl-C does. To be called on the main thread.
inline bool handle_python_signals() {
  if (!PyErr_CheckSignals) return false;
  const int state = PyGILState_Ensure();
  const bool raised = PyErr_CheckSignals() != 0;
  if (raised) {
    auto* const exception = new PythonException;
    PyErr_Fetch(&exception->type, &exception->value, &exception->traceback);
    if (Py_AddPendingCall(&PythonException::raise, exception) != 0) PyErr_SetInterrupt();
  }
  PyGILState_Release(state);
  return raised;
}

}  // namespace gtnet

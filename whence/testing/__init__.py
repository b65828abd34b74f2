"""Checks for the authors of backends and methods, in the spirit of scikit-learn's ``check_estimator``.

    from whence.testing import check_backend, check_method

    check_backend(backend)                        # operations as on NumPy, derivatives, models behind one call
    check_method(MyMethod(n_samples=20))          # on every framework that is imported

With pytest, one test per check::

    @pytest.mark.parametrize("check", method_checks(MyMethod()), ids=str)
    def test_my_method(check):
        check()

Each check is short and named; a failure says which, what was expected and what came.
"""

from whence.testing.backend import backend_checks, check_backend
from whence.testing.check import Check
from whence.testing.method import check_method, method_checks

__all__ = ["Check", "backend_checks", "check_backend", "check_method", "method_checks"]

"""A child's numeric libraries keep to one thread, unless someone asks for more."""

from models.threads import single_threaded


def test_products_keep_to_one_thread_and_the_rest_of_the_environment_stays() -> None:
    assert single_threaded({"PATH": "/bin"}) == {"PATH": "/bin", "OPENBLAS_NUM_THREADS": "1"}


def test_who_asks_for_more_threads_gets_them() -> None:
    assert single_threaded({"OPENBLAS_NUM_THREADS": "4"})["OPENBLAS_NUM_THREADS"] == "4"

"""The tests themselves: `pytest -m quick` touches every part of the package."""

# Files with no test that takes less than some seconds.
SLOW = {
    "tests/runtimes/test_runtimes.py",
    "tests/runtimes/test_words.py",
    "tests/test_benchmark_scripts.py",
    "tests/test_families_learn.py",
}


def test_every_file_of_tests_has_a_quick_one_or_is_named_as_slow(quick_files):
    assert quick_files
    assert {file for file, quick in quick_files.items() if not quick} == SLOW & set(quick_files)

"""The tests are tested: each mutant is a bug of one line, and a named test must catch it.

``make mutants`` applies every one of them to a copy of the checkout of its own, runs the named
tests there, and expects them to fail as an assertion does. First they must pass on an unchanged
copy: else "caught" would mean nothing. The mutants are data, in ``mutants.toml``.
"""

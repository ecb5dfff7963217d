"""The reference of attributes says what the descriptions say, and the page on adding one is true line by line."""

import doctest
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_attribute_reference_says_what_the_descriptions_say():
    written = runpy.run_path(str(ROOT / "scripts/write-attribute-reference"))["page"]()
    assert (ROOT / "docs/reference/attributes.md").read_text() == written, "run `make docs`"


def test_the_reference_of_rules_says_what_the_collections_say():
    written = runpy.run_path(str(ROOT / "scripts/write-rule-reference"))["page"]()
    assert (ROOT / "docs/reference/policy-rules.md").read_text() == written, "run `make docs`"


def test_an_attribute_is_one_line_and_the_rest_follows():
    failed, tried = doctest.testfile(str(ROOT / "docs/how-to/add-an-attribute.md"), module_relative=False)
    assert tried > 15
    assert failed == 0

# `make demo` and `make test` make their own environment in .venv with any Python from 3.10 on.

PYTHON ?= python3
VENV := .venv/bin/python
# ComfyUI's frontends that the editor is tested in: a current one, and one of a year before.
FRONTENDS := 1.58.1 1.30.6

.PHONY: demo test clean

demo: .venv/demo.stamp
	$(VENV) -m comfyui_trajectory generate --output outputs/demo

test: .venv/test.stamp
	$(VENV) -m pytest

# torch first, pinned: the version the suite is tested with.
.venv/demo.stamp: pyproject.toml
	test -x $(VENV) || $(PYTHON) -m venv .venv
	$(VENV) -m pip install --quiet --upgrade pip setuptools wheel
	$(VENV) -m pip install --quiet torch==2.13.0
	$(VENV) -m pip install --quiet --editable ".[headless]"
	touch $@

.venv/test.stamp: .venv/demo.stamp Makefile
	$(VENV) -m pip install --quiet --editable ".[headless,test]"
	for version in $(FRONTENDS); do $(VENV) -m pip install --quiet --no-deps --upgrade \
		--target .venv/frontends/$$version comfyui-frontend-package==$$version || exit 1; done
	touch $@

clean:
	rm -rf .venv outputs

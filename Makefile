# The one list of commands. Each is a short script in scripts/, which first installs what is missing.
.DEFAULT_GOAL := help
.PHONY: help install uninstall demo test coverage benchmark endurance check format clean

help:      ## list these commands
	@sed -n 's/^\([a-z]*\): *## /  make \1\t/p' Makefile | expand -t 18

install:   ## install eofs and what it needs: in /usr/local as root, else in ~/.local; or PREFIX=DIR
	@scripts/install

uninstall: ## take away what install has installed; with the same PREFIX
	@scripts/uninstall

demo:      ## a whole session against a built-in provider: no account, no network
	@scripts/bootstrap
	@scripts/demo

test:      ## run the tests; ARGS go to pytest (make test ARGS='-k unmount')
	@scripts/test $(ARGS)

coverage:  ## run the tests and list the lines that none of them reaches
	@scripts/coverage $(ARGS)

benchmark: ## measure beside the peers; ARGS="--only window", "--quick", "--list"
	@scripts/benchmark $(ARGS)

endurance: ## look, read and unmount for an hour, and see whether anything grows; ARGS=100 rounds
	@scripts/endurance $(ARGS)

check:     ## lint, formatting, types
	@scripts/check

format:    ## rewrite the code in the house's format
	@scripts/format

clean:     ## remove .venv and everything else that these commands made
	@scripts/clean

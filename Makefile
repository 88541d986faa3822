# What goes where. `make build`, then `make install` with DESTDIR and PREFIX as usual. The packages are filled by it too,
# and the release tarball brings it along. It installs what is there: man pages and completions only if they were made.

# programs that a runtime starts, and daemons
PLUGINS := firewallnetns macvtap
DAEMONS := ipsetd
PROGRAMS := $(PLUGINS) $(DAEMONS)

PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
# where runtimes look by default; /usr/lib/cni and /usr/libexec/cni are the packages' places
CNIDIR ?= /opt/cni/bin
BINDIR ?= $(PREFIX)/bin
SBINDIR ?= $(PREFIX)/sbin
MANDIR ?= $(PREFIX)/share/man
DOCDIR ?= $(PREFIX)/share/doc/firewallnetns
UNITDIR ?= $(PREFIX)/lib/systemd/system
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
# the default `dataDir` of the plugin, which is no matter of PREFIX
DATADIR := $(SYSCONFDIR)/cni/firewallnetns

TARGET ?= x86_64-unknown-linux-musl
# of the release tarball, else of the source
BIN ?= $(if $(wildcard bin/firewallnetns),bin,target/$(TARGET)/release)

.PHONY: all build install programs

all: build

build:
	cargo build --release --locked --target $(TARGET) $(PROGRAMS:%=-p %)

# for scripts
programs:
	@echo $(PROGRAMS)

# a running plugin is replaced by a rename: nobody ever starts half of one
put = install -d '$(DESTDIR)$(dir $(3))' && install -m $(1) $(2) '$(DESTDIR)$(3).new' && \
	mv -f '$(DESTDIR)$(3).new' '$(DESTDIR)$(3)'

install:
	@test -x $(BIN)/firewallnetns || { echo 'run `make build` first: there is no $(BIN)/firewallnetns'; exit 1; }
	$(foreach name,$(PLUGINS),$(call put,755,$(BIN)/$(name),$(CNIDIR)/$(name)) &&) true
	$(foreach name,$(DAEMONS),$(call put,755,$(BIN)/$(name),$(SBINDIR)/$(name)) &&) true
	install -d '$(DESTDIR)$(BINDIR)' && ln -sfr '$(DESTDIR)$(CNIDIR)/firewallnetns' '$(DESTDIR)$(BINDIR)/firewallnetns'
	install -d '$(DESTDIR)$(DATADIR)'
	@# a preset that is there was perhaps changed
	@for file in fw/*.fw; do \
		to='$(DESTDIR)$(DATADIR)'/$${file##*/}; \
		if ! test -e "$$to" || cmp -s "$$file" "$$to"; then install -m 644 "$$file" "$$to"; \
		else echo "kept $$to, which differs: the new one is $$to.new"; install -m 644 "$$file" "$$to.new"; fi; \
	done
	install -d '$(DESTDIR)$(DOCDIR)' && install -m 644 README.md CHANGELOG.md $(wildcard THIRD-PARTY) '$(DESTDIR)$(DOCDIR)'
	@# units name the daemon by the path that it has as a package
	@set -e; for file in $(wildcard systemd/*.service systemd/*.socket); do \
		install -d '$(DESTDIR)$(UNITDIR)'; \
		sed 's|/usr/sbin/|$(SBINDIR)/|g' $$file > '$(DESTDIR)$(UNITDIR)'/$${file##*/}; \
		chmod 644 '$(DESTDIR)$(UNITDIR)'/$${file##*/}; \
	done
	@set -e; for file in $(wildcard man/*.[1-8]); do \
		install -D -m 644 $$file '$(DESTDIR)$(MANDIR)'/man$${file##*.}/$${file##*/}; \
	done
	@set -e; for file in $(wildcard completions/*); do \
		case $$file in \
		*.bash) name=$${file##*/}; to='$(PREFIX)'/share/bash-completion/completions/$${name%.bash};; \
		*.fish) to='$(PREFIX)'/share/fish/vendor_completions.d/$${file##*/};; \
		*/_*) to='$(ZSHDIR)'/$${file##*/};; \
		*) echo "nobody knows what shell $$file is for"; exit 1;; \
		esac; \
		install -D -m 644 $$file '$(DESTDIR)'$$to; \
	done

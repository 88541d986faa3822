# What goes where. `make build`, then `make install` with DESTDIR and PREFIX as usual. The packages are filled by it too,
# and the release tarball brings it along.

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

.PHONY: all build programs install install-plugins install-daemons built

all: build

build:
	cargo build --release --locked --target $(TARGET) $(PROGRAMS:%=-p %)

# for scripts
programs:
	@echo $(PROGRAMS)

install: install-plugins install-daemons

built:
	@test -x $(BIN)/firewallnetns || { echo 'run `make build` first: there is no $(BIN)/firewallnetns'; exit 1; }

# $(call put,MODE,FILE,FOLDER): by a rename, so that nobody ever starts half of a program
define put
install -d '$(DESTDIR)$(3)'
install -m $(1) '$(2)' '$(DESTDIR)$(3)/$(notdir $(2)).new'
mv -f '$(DESTDIR)$(3)/$(notdir $(2)).new' '$(DESTDIR)$(3)/$(notdir $(2))'

endef

# $(call manual,PROGRAM): its manual pages, and what shells complete it by
define manual
$(foreach file,$(wildcard man/$(1).[1-8] man/$(1)-*.[1-8]),$(call put,644,$(file),$(MANDIR)/man$(patsubst .%,%,$(suffix $(file)))))
$(foreach file,$(wildcard completions/$(1).fish),$(call put,644,$(file),$(PREFIX)/share/fish/vendor_completions.d))
$(foreach file,$(wildcard completions/_$(1)),$(call put,644,$(file),$(ZSHDIR)))
$(if $(wildcard completions/$(1).bash),install -D -m 644 completions/$(1).bash \
	'$(DESTDIR)$(PREFIX)/share/bash-completion/completions/$(1)')

endef

install-plugins: built
	$(foreach name,$(PLUGINS),$(call put,755,$(BIN)/$(name),$(CNIDIR)))
	install -d '$(DESTDIR)$(BINDIR)'
	ln -sfr '$(DESTDIR)$(CNIDIR)/firewallnetns' '$(DESTDIR)$(BINDIR)/firewallnetns'
	install -d '$(DESTDIR)$(DATADIR)'
	@# a preset that is there was perhaps changed
	@for file in fw/*.fw; do \
		to='$(DESTDIR)$(DATADIR)'/$${file##*/}; \
		if ! test -e "$$to" || cmp -s "$$file" "$$to"; then install -m 644 "$$file" "$$to"; \
		else echo "kept $$to, which differs: the new one is $$to.new"; install -m 644 "$$file" "$$to.new"; fi; \
	done
	$(foreach file,README.md CHANGELOG.md $(wildcard THIRD-PARTY),$(call put,644,$(file),$(DOCDIR)))
	$(foreach name,$(PLUGINS),$(call manual,$(name)))

install-daemons: built
	$(foreach name,$(DAEMONS),$(call put,755,$(BIN)/$(name),$(SBINDIR)))
	$(foreach name,$(DAEMONS),$(call manual,$(name)))
	@# units name the daemon by the path that it has as a package
	@set -e; for file in $(wildcard systemd/*.service systemd/*.socket); do \
		install -d '$(DESTDIR)$(UNITDIR)'; \
		sed 's|/usr/sbin/|$(SBINDIR)/|g' $$file > '$(DESTDIR)$(UNITDIR)'/$${file##*/}; \
		chmod 644 '$(DESTDIR)$(UNITDIR)'/$${file##*/}; \
	done

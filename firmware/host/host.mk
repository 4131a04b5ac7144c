# The model as a program for this machine, with the machine's own compiler: make host, or make host SANITIZE=1.
HOST_CC ?= cc
HOST_FLAGS := $(WARNINGS) -O3 -march=native -I. -Iruntime -Ihost
ifneq ($(SANITIZE),)
HOST_FLAGS += -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g
endif

.PHONY: host
host: host_model
host_model: $(wildcard *.[ch] runtime/*.[ch] host/*.[ch])
	$(HOST_CC) $(HOST_FLAGS) $(filter %.c,$^) -o $@

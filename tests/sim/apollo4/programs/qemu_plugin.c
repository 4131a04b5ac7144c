/* A plugin for QEMU that counts instructions up to an address. QEMU's header is rarely installed, so what is used of its
 * interface is declared here (QEMU's documentation, "QEMU TCG Plugins", version 1 and 2 of the interface). */
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, void (*call)(plugin_id id, struct qemu_plugin_tb *tb));
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, void (*call)(unsigned cpu, void *data),
                                            int flags, void *data);
int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv);

extern int qemu_plugin_version;
int qemu_plugin_version = PLUGIN_VERSION;

static uint64_t instructions;
static uint64_t path; /* a hash of all addresses, in order */
static uint64_t until;
static const char *out;

static void execute(unsigned cpu, void *data)
{
    const uint64_t address = (uint64_t)(uintptr_t)data;
    (void)cpu;
    if (out == NULL) {
        return;
    }
    if (address == until) {
        FILE *file = fopen(out, "w");
        if (file == NULL || fprintf(file, "%" PRIu64 " %" PRIu64 "\n", instructions, path) < 0 || fclose(file) != 0) {
            abort();
        }
        out = NULL;
        return;
    }
    instructions++;
    path = (path ^ address) * UINT64_C(0x100000001B3);
}

static void translate(plugin_id id, struct qemu_plugin_tb *tb)
{
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        qemu_plugin_register_vcpu_insn_exec_cb(insn, execute, 0, (void *)(uintptr_t)qemu_plugin_insn_vaddr(insn));
    }
}

/* Arguments: until=ADDRESS out=FILE */
int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "until=", 6) == 0) {
            until = strtoull(argv[i] + 6, NULL, 0);
        } else if (strncmp(argv[i], "out=", 4) == 0) {
            out = argv[i] + 4;
        }
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
    return out == NULL;
}

/* The border between qcore and its plugins: the entry symbol, its frozen stamp, descriptors, status codes.
 *
 * A plugin is one shared library that exports one constant object, `qc_plugin_entry`. Reading it runs no plugin code:
 * there is no init and no deinit, and a library is never unloaded. A host of any age can read the stamp and name any
 * mismatch field by field; the layouts of qc_stamp, qc_plugin and qc_desc never change within an ABI major.
 *
 * Structs that may grow begin with `size`, filled by whoever made the object; new members are appended. The reader
 * copies min(theirs, mine) bytes into a zeroed struct of its own, so an absent member reads as NULL or 0.
 *
 * Words used in all headers:
 *   borrowed  valid until the call returns          [main-thread]  called from one thread, before any work starts
 *   owned     the caller frees it as said           [job-thread]   called with a worker's own job, many at once
 *   static    valid for ever                        [any-thread]   no restriction
 */
#ifndef QCORE_ABI_H
#define QCORE_ABI_H

#include <stddef.h>
#include <stdint.h>

#define QC_ABI_MAGIC 0x31504351u /* "QCP1" in a little-endian file */
#define QC_ABI_MAJOR 0
#define QC_ABI_MINOR 4
#define QC_SDK_VERSION 0x000400u /* 0x00XXYYZZ, of these headers: for messages only */

#ifdef __cplusplus
#define QC_C extern "C"
#else
#define QC_C extern
#endif
#if defined(_WIN32)
#define QC_EXPORT __declspec(dllexport)
#else
#define QC_EXPORT __attribute__((visibility("default")))
#endif

/* First member of every plugin of every age: 16 bytes, frozen for ever. */
typedef struct qc_stamp {
    uint32_t magic; /* @0  QC_ABI_MAGIC, in the plugin's byte order */
    uint16_t abi_major, abi_minor; /* @4  @6 */
    uint8_t ptr_bytes, long_bytes; /* @8  @9  sizeof(void *), sizeof(long) */
    uint8_t big_endian, reserved; /* @10 @11 */
    uint32_t sdk_version; /* @12 */
} qc_stamp;

/* First member of every descriptor. `kind` carries a revision ("qcore.method/1"); unknown kinds are skipped. */
typedef struct qc_desc {
    uint32_t size; /* sizeof the whole descriptor as the plugin was compiled */
    uint32_t flags; /* QC_DESC_*, and flags of the kind from bit 16 up */
    const char *kind, *id;
    const void *reserved;
} qc_desc;

enum {
    QC_DESC_INEXACT = 1 /* results may differ between CPUs or thread counts: needs `run: {exact: false}` */
};

typedef struct qc_plugin {
    qc_stamp stamp;
    uint32_t size, n_descs;
    const qc_desc *const *descs; /* static */
} qc_plugin;

#define QC_PLUGIN_SYMBOL "qc_plugin_entry"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define QC_BIG_ENDIAN 1
#else
#define QC_BIG_ENDIAN 0
#endif

#define QC_STAMP                                                                                                 \
    {                                                                                                            \
        QC_ABI_MAGIC, QC_ABI_MAJOR, QC_ABI_MINOR, sizeof(void *), sizeof(long), QC_BIG_ENDIAN, 0, QC_SDK_VERSION \
    }

/* Defines the entry of a library from pointers to its descriptors' bases: QC_PLUGIN(&rtn.base, &other.base); */
#define QC_PLUGIN(...)                                                                                       \
    static const qc_desc *const qc_plugin_descs[] = {__VA_ARGS__};                                           \
    QC_C QC_EXPORT const qc_plugin qc_plugin_entry;                                                          \
    const qc_plugin qc_plugin_entry = {QC_STAMP, sizeof(qc_plugin), sizeof qc_plugin_descs / sizeof(void *), \
                                       qc_plugin_descs}

/* Does `object` (first member: size) reach as far as `member`? */
#define QC_HAS(object, type, member) ((object)->size >= offsetof(type, member) + sizeof((object)->member))

typedef int32_t qc_status; /* not an enum: its width would be the compiler's choice */
enum {
    QC_OK = 0,
    QC_E_INVALID = -1, /* a value the user gave is wrong */
    QC_E_NOMEM = -2, /* an allocation failed */
    QC_E_UNSUPPORTED = -3, /* well formed, but not something this can do */
    QC_E_IO = -4, /* the system refused to read or write */
    QC_E_CORRUPT = -5, /* a file breaks its own format */
    QC_E_NUMERIC = -6, /* NaN, Inf, or a computation that broke down */
    QC_E_CANCELLED = -7, /* the user gave up */
    QC_E_LIMIT = -8, /* a bound (memory, count) would be exceeded */
    QC_E_INTERNAL = -9 /* a bug */
};

#endif

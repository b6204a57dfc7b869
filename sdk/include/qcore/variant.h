/* One source, built once per CPU level: names that differ per build. qcore_add_plugin(VARIANT_SOURCES … VARIANTS …)
 * compiles such a file with -DQC_VARIANT=reference, then =x86_v3, … and the flags of that level; because lanes are
 * rows and -ffp-contract=off holds everywhere, all of them give the same bytes. */
#ifndef QCORE_VARIANT_H
#define QCORE_VARIANT_H

#ifndef QC_VARIANT
#define QC_VARIANT reference
#endif
#define QC_VARIANT_JOIN2(name, variant) name##_##variant
#define QC_VARIANT_JOIN(name, variant) QC_VARIANT_JOIN2(name, variant)
#define QC_VARIANT_NAME(name) QC_VARIANT_JOIN(name, QC_VARIANT)

#endif

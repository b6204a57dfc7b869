/* Built plugins for tests, opened at run time as the core does: $QC_PLUGIN_DIR, or the build's own folder. */
#ifndef TEST_PLUGIN_H
#define TEST_PLUGIN_H

#include "qcore/format.h"

/* The entry of DIR/name/libqc_name.so; prints why and aborts where it cannot be had. */
const qc_plugin *test_plugin_open(const char *name);

/* The first format of that plugin. */
const qc_format_desc *test_format_open(const char *name);

#endif

/* Site defaults: an INI file with what a recipe need not say. $QCORE_CONFIG, else the user's
 * ($XDG_CONFIG_HOME or ~/.config)/qcore/qcore.ini, else the installed share/qcore/qcore.ini; none is fine. */
#ifndef CORE_SITE_H
#define CORE_SITE_H

#include "core/recipe.h"

qc_status site_apply(qc_job *job, recipe *r);

#endif

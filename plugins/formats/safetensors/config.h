/* config.json of the folder that is written: the model's own with what became of its weights. */
#ifndef SAFETENSORS_CONFIG_H
#define SAFETENSORS_CONFIG_H

#include "safetensors.h"

#define ST_CONFIG "config.json"

/* NULL: the model came from no folder of its family. */
static inline const qc_source *st_folder(const qc_model *model)
{
    return QC_HAS(model, qc_model, folder) ? model->folder : NULL;
}

/* The number type that most bytes of plain numbers are kept in: "f16", "bf16", "f32", or NULL. */
const char *st_plain_encoding(const qc_model *model);

/* quantization: its "quantization_config" (borrowed), and config.json must be there; NULL: there is none, and nothing is
 * laid out where config.json can be copied as it is. Every other key keeps its text and its place. */
qc_status st_lay_out_config(qc_job *job, const qc_model *model, json_t *quantization, const qc_layout *out);

#endif

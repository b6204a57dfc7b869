/* The same for all families of this library. Attention only averages values over tokens, and the feed-forward product is
 * linear in what ffn_up gives; q and k have none, for the rotation mixes their channels (and so does a norm of the heads).
 *
 * First those between two matrices: a factor of a whole row changes nothing for encodings whose blocks lie in rows, so
 * they are free. Those behind a norm come last: what they need to know of q, k, v, gate and up is then final.
 */
#include "axes.h"

#define PART(name) "blk.{}." name

const qc_axis_rule llama_axes[] = {
    {PART("attn_v.weight") " ?" PART("attn_v.bias"), PART("attn_output.weight"), QC_CHANNELS_VALUE_HEADS},
    {PART("ffn_up.weight") " ?" PART("ffn_up.bias"), PART("ffn_down.weight"), QC_CHANNELS_PLAIN},
    {PART("attn_norm.weight"), PART("attn_q.weight") " " PART("attn_k.weight") " " PART("attn_v.weight"),
     QC_CHANNELS_PLAIN},
    {PART("ffn_norm.weight"), PART("ffn_gate.weight") " " PART("ffn_up.weight"), QC_CHANNELS_PLAIN},
    {NULL, NULL, 0},
};

#include "conversion.h"

static const json_t *find_value(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

const json_t *find(const conversion *c, const char *key)
{
    const json_t *value = find_value(c->text, key);
    return value ? value : find_value(c->root, key);
}

int is_null(const conversion *c, const char *key)
{
    return !find_value(c->text, key) &&
           (json_is_null(json_object_get(c->text, key)) || json_is_null(json_object_get(c->root, key)));
}

const char *find_text(const conversion *c, const char *key)
{
    return json_string_value(find(c, key));
}

double read_number(conversion *c, const json_t *object, const char *key, double otherwise, double lowest,
                   double highest)
{
    const json_t *value = object ? find_value(object, key) : find(c, key);
    double number = value ? json_number_value(value) : otherwise;
    if (!value && otherwise == REQUIRED)
        reject(c, QC_E_INVALID, "\"%s\" is missing", key);
    else if (value && !json_is_number(value))
        reject(c, QC_E_INVALID, "\"%s\" must be a number", key);
    else if (value && !(number >= lowest && number <= highest))
        reject(c, QC_E_INVALID, "\"%s\" is %.9g, not from %.9g to %.9g", key, number, lowest, highest);
    return c->status == QC_OK ? number : 0;
}

uint32_t read_count(conversion *c, const char *key, double otherwise, uint32_t highest)
{
    double number = read_number(c, NULL, key, otherwise, 1, highest);
    uint32_t count = (uint32_t)number; /* within 0 .. highest */
    if ((double)count != number)
        reject(c, QC_E_INVALID, "\"%s\" is %.9g, not a whole number", key, number);
    return c->status == QC_OK ? count : 0;
}

enum { MAX_KEY = 96 };

static void prefix_key(const conversion *c, const char *key, char full[MAX_KEY])
{
    snprintf(full, MAX_KEY, "%s.%s", c->family->id, key);
}

void put_u32(conversion *c, const char *key, uint32_t value)
{
    char full[MAX_KEY];
    prefix_key(c, key, full);
    if (c->status == QC_OK)
        c->status = qc_meta_u32(c->out->scan, c->job, full, value);
}

void put_f32(conversion *c, const char *key, double value)
{
    char full[MAX_KEY];
    prefix_key(c, key, full);
    if (c->status == QC_OK)
        c->status = qc_meta_f32(c->out->scan, c->job, full, (float)value);
}

void put_text(conversion *c, const char *key, const char *value)
{
    char full[MAX_KEY];
    prefix_key(c, key, full);
    if (c->status == QC_OK)
        c->status = qc_meta_text(c->out->scan, c->job, full, value);
}

void put_flags(conversion *c, const char *key, const uint8_t *flags, size_t n)
{
    char full[MAX_KEY];
    prefix_key(c, key, full);
    const qc_meta meta = {sizeof meta, full, QC_BOOL, 1, n, flags};
    if (c->status == QC_OK)
        c->status = c->out->scan->meta(c->out->scan, c->job, &meta);
}

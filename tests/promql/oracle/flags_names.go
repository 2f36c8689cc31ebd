//go:build names

package main

import "github.com/prometheus/common/model"

// 2.55 has names in UTF-8 behind a flag; later they are on without one.
func init() { model.NameValidationScheme = model.UTF8Validation }

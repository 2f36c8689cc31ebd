// The second reader: prints what Prometheus' own parser makes of a query.
//
// Each line of the input is a JSON object, {"query": "..."} or {"selector": "..."} or {"functions": true}; each
// line of the output answers one of them. A query is parsed twice where the release has the feature flag
// `promql-unquoted-utf8-names`, without and with it; all other experimental features are on, as they only let more
// pass. Strings of a tree are quoted in ASCII, so that bytes which are no UTF-8 stay apart.
//
// It is built once for each release that is proven: releases/ has a go.mod for each, and a parser_*.go for each way
// to call the parser. Trees are read by reflection, as releases differ in what their nodes have: what is zero is left
// out, so that a tree looks alike in all releases that know what is in it.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"sort"
	"strconv"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

type request struct {
	Query     *string `json:"query"`
	Selector  *string `json:"selector"`
	Functions bool    `json:"functions"`
}

type reading struct {
	Tree  any    `json:"tree,omitempty"`
	Error string `json:"error,omitempty"`
}

type answer struct {
	Default   reading  `json:"default"`
	Unquoted  *reading `json:"unquoted,omitempty"`
	Functions []string `json:"functions,omitempty"`
}

// How a release is called. Each parser_*.go has its own `plain` and `unquoted`, which may be nil.
type reader struct {
	expression func(string) (parser.Expr, error)
	selector   func(string) ([]*labels.Matcher, error)
}

type node = map[string]any

func quoted(text string) string { return strconv.QuoteToASCII(text) }

func matchers(list []*labels.Matcher) []any {
	out := make([]any, 0, len(list))
	for _, m := range list {
		out = append(out, []string{quoted(m.Name), m.Type.String(), quoted(m.Value)})
	}
	return out
}

// What says where something stands, or comes from other fields.
var left = map[string]bool{"PosRange": true, "StartPos": true, "EndPos": true, "Pos": true}

// tree returns nil for what is zero.
func tree(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Interface:
		return tree(v.Elem())
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		if f, ok := v.Interface().(*parser.Function); ok {
			return f.Name
		}
		value := tree(v.Elem())
		switch {
		case v.Elem().Kind() != reflect.Struct:
			// A value that is there, if it is zero too.
			return []any{value}
		case value == nil:
			return node{"node": v.Elem().Type().Name()}
		}
		return value
	case reflect.Struct:
		out := node{"node": v.Type().Name()}
		for i := range v.NumField() {
			field := v.Type().Field(i)
			if !field.IsExported() || left[field.Name] {
				continue
			}
			if list, ok := v.Field(i).Interface().([]*labels.Matcher); ok {
				out["matchers"] = matchers(list)
			} else if value := tree(v.Field(i)); value != nil {
				out[field.Name] = value
			}
		}
		if len(out) == 1 {
			return nil
		}
		return out
	case reflect.Slice:
		if v.Len() == 0 {
			return nil
		}
		out := make([]any, 0, v.Len())
		for i := range v.Len() {
			out = append(out, tree(v.Index(i)))
		}
		return out
	case reflect.String:
		if v.Len() == 0 {
			return nil
		}
		return quoted(v.String())
	case reflect.Float64:
		return strconv.FormatFloat(v.Float(), 'g', -1, 64)
	case reflect.Bool:
		if !v.Bool() {
			return nil
		}
		return true
	case reflect.Int, reflect.Int64:
		// The numbers of operators differ between releases.
		if op, ok := v.Interface().(parser.ItemType); ok {
			if op == 0 {
				return nil
			}
			return op.String()
		}
		if v.Int() == 0 {
			return nil
		}
		return v.Int()
	case reflect.Invalid:
		return nil
	default:
		panic(fmt.Sprintf("a field that this program does not know: %s", v.Type()))
	}
}

func read(r *reader, q request) (out reading) {
	defer func() {
		// A panic of one text must not end the others.
		if panicked := recover(); panicked != nil {
			out = reading{Error: fmt.Sprint(panicked)}
		}
	}()
	if q.Selector != nil {
		list, err := r.selector(*q.Selector)
		if err != nil {
			return reading{Error: err.Error()}
		}
		// The API refuses these after the parser, see parseMatchersParam in web/api/v1.
		for _, m := range list {
			if !m.Matches("") {
				return reading{Tree: node{"node": "VectorSelector", "matchers": matchers(list)}}
			}
		}
		return reading{Error: "no matcher that refuses the empty string"}
	}
	expr, err := r.expression(*q.Query)
	if err != nil {
		return reading{Error: err.Error()}
	}
	return reading{Tree: tree(reflect.ValueOf(expr))}
}

func main() {
	input := bufio.NewScanner(os.Stdin)
	input.Buffer(make([]byte, 1<<20), 64<<20)
	output := bufio.NewWriter(os.Stdout)
	encoder := json.NewEncoder(output)
	for input.Scan() {
		var q request
		if err := json.Unmarshal(input.Bytes(), &q); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		var a answer
		if q.Functions {
			for name := range parser.Functions {
				a.Functions = append(a.Functions, name)
			}
			sort.Strings(a.Functions)
		} else {
			a.Default = read(plain, q)
			if unquoted != nil {
				second := read(unquoted, q)
				a.Unquoted = &second
			}
		}
		if err := encoder.Encode(a); err != nil {
			os.Exit(1)
		}
	}
	if err := input.Err(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if err := output.Flush(); err != nil {
		os.Exit(1)
	}
}

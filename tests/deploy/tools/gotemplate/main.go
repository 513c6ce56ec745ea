// gotemplate fills in what stands between braces in every string of a tree, as Argo CD's ApplicationSets do: by Go's
// templates with Sprig's functions, less those that read the environment or ask a name server.
//
// Standard input is a JSON list of {"tree": …, "values": {…}, "options": ["missingkey=error"]}, standard output the list
// of the trees. It ends with 1 and a sentence where a template is wrong or asks for what there is not.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"text/template"

	"github.com/Masterminds/sprig/v3"
)

type job struct {
	Tree    any            `json:"tree"`
	Values  map[string]any `json:"values"`
	Options []string       `json:"options"`
}

func main() {
	var jobs []job
	if err := json.NewDecoder(os.Stdin).Decode(&jobs); err != nil {
		fail(err)
	}
	trees := make([]any, len(jobs))
	for index, one := range jobs {
		tree, err := one.filled(one.Tree)
		if err != nil {
			fail(err)
		}
		trees[index] = tree
	}
	if err := json.NewEncoder(os.Stdout).Encode(trees); err != nil {
		fail(err)
	}
}

func (one job) filled(node any) (any, error) {
	switch node := node.(type) {
	case string:
		return one.text(node)
	case []any:
		return one.list(node)
	case map[string]any:
		return one.mapping(node)
	default:
		return node, nil
	}
}

func (one job) list(nodes []any) (any, error) {
	made := make([]any, len(nodes))
	for index, node := range nodes {
		filled, err := one.filled(node)
		if err != nil {
			return nil, err
		}
		made[index] = filled
	}
	return made, nil
}

func (one job) mapping(nodes map[string]any) (any, error) {
	made := make(map[string]any, len(nodes))
	for key, node := range nodes {
		name, err := one.text(key)
		if err != nil {
			return nil, err
		}
		if made[name], err = one.filled(node); err != nil {
			return nil, err
		}
	}
	return made, nil
}

func (one job) text(source string) (string, error) {
	functions := sprig.TxtFuncMap()
	for _, name := range []string{"env", "expandenv", "getHostByName"} {
		delete(functions, name)
	}
	parsed, err := template.New("").Option(one.Options...).Funcs(functions).Parse(source)
	if err != nil {
		return "", fmt.Errorf("%q: %w", source, err)
	}
	var made bytes.Buffer
	if err := parsed.Execute(&made, one.Values); err != nil {
		return "", fmt.Errorf("%q: %w", source, err)
	}
	return made.String(), nil
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
